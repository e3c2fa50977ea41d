"""The tables of the ledger. No name or birth date of a patient is kept in them.

`identifiers` alone has more than UIDs: what a person finds a study by. It is deleted with the history of the study.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)

from node.ledger.text_columns import String, Text

tables = MetaData()
UID = String(64)

node = Table(
    "node",
    tables,
    Column("device_uid", UID, primary_key=True),
    comment="one row, made with the ledger: the UID of the node that owns it",
)

pack = Table(
    "pack",
    tables,
    Column("name", String, primary_key=True),
    Column("mark", BigInteger, nullable=False, comment="all records before this offset have their rows"),
    Column("study_uid", UID, nullable=False, server_default=""),
    Column("calling", String(16), nullable=False, server_default=""),
    Column("association", String, nullable=False, server_default="", comment="that wrote it, where this is known"),
    Column("begun_at", Float, nullable=False, server_default="0"),
    Column("ended", String(16), nullable=False, server_default="", comment="how its association left it"),
    Column("ended_at", Float, nullable=False, server_default="0"),
    Index("pack_of_study", "study_uid"),
    Index("pack_of_association", "association"),
    Index("pack_without_end", "ended", "association"),
)

instance = Table(
    "instance",
    tables,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("study_uid", UID, primary_key=True, comment="a UID that was given twice is an instance of both studies"),
    Column("series_uid", UID, nullable=False),
    Column("modality", String(16), nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("calling", String(16), nullable=False),
    Column("peer", String, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("checksum", BigInteger, nullable=False, comment="CRC-32 of the Part 10 file"),
    Column("pack", String, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("urgency", Integer, nullable=False, server_default="0", comment="by its Requested Procedure Priority"),
    Column("lost", Boolean, nullable=False, server_default="0", comment="its bytes are gone from the spool"),
    Column("note", Text, nullable=False, server_default="", comment="geometry and pixels, so that no header is parsed"),
    Column("originator", String(16), nullable=False, server_default="", comment="AE title that asked for it by C-MOVE"),
    Index("instance_of_study", "study_uid", "series_uid"),
    Index("instance_in_pack", "pack"),
)

refusal = Table(
    "refusal",
    tables,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("sop_instance_uid", String, nullable=False),
    Column("sop_class_uid", String, nullable=False),
    Column("study_uid", String, nullable=False, index=True),
    Column("calling", String(16), nullable=False),
    Column("peer", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("pack", String, nullable=False, server_default="", comment="where its bytes lie, had it been taken"),
    Column("association", String, nullable=False, server_default=""),
    Column("came_at", Float, comment="when it came again and was taken"),
    Index("refusal_in_pack", "pack"),
    Index("refusal_of_instance", "sop_instance_uid"),
    Index("refusal_on_association", "association"),
)

failed_association = Table(
    "failed_association",
    tables,
    Column("outcome", String(16), primary_key=True),
    Column("calling", String(16), primary_key=True),
    Column("called", String(16), primary_key=True),
    Column("address", String, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("times", Integer, nullable=False),
    Index("failed_association_last", "last_at"),
    comment="associations that were rejected or aborted; alike ones are one row",
)

study = Table(
    "study",
    tables,
    Column("study_uid", UID, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("changed_at", Float, nullable=False, comment="when its last instance arrived"),
    Column("because", Text, nullable=False, comment="why it was taken for stable, or why it is parked"),
    Column(
        "expected", Integer, nullable=False, server_default="0", comment="instances before some were purged or lost"
    ),
    Column("purged_at", Float, comment="when its bytes were last let go"),
    Column("caveat", Text, nullable=False, server_default="", comment="what was missing when it was taken for stable"),
    Index("study_quiet", "state", "changed_at"),
)

identifiers = Table(
    "identifiers",
    tables,
    Column("study_uid", UID, primary_key=True),
    Column("patient_id", String(64), nullable=False),
    Column("accession_number", String(64), nullable=False),
    Column("study_date", String(8), nullable=False, comment="YYYYMMDD, or empty"),
    Column("modalities", String, nullable=False, comment="with commas, in the order of the alphabet"),
    Column("sender", String(16), nullable=False, comment="AE title that sent its first instance"),
    Index("identifiers_of_patient", "patient_id"),
    Index("identifiers_of_order", "accession_number"),
    comment="what a person finds a study by, since it was planned; deleted with its history",
)

process = Table(
    "process",
    tables,
    Column("name", String(128), primary_key=True, comment="host and process id"),
    Column("roles", String, nullable=False),
    Column("version", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False, comment="when it last said that it runs"),
    Column("detail", Text, nullable=False, comment="what it says of its Triton servers"),
    comment="each process of a node that runs, or was killed",
)

pause = Table(
    "pause",
    tables,
    Column("kind", String(16), primary_key=True, comment="destination, route or plugin"),
    Column("name", String, primary_key=True),
    Column("since", Float, nullable=False),
    comment="what a person has paused",
)

decision = Table(
    "decision",
    tables,
    Column("id", Integer, primary_key=True),
    Column("study_uid", UID, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("series_key", String, nullable=False),
    Column("series_text", Text, nullable=False),
    Column("route", String, nullable=False),
    Column("matched", Boolean, nullable=False),
    Column("sentence", Text, nullable=False),
    Index("decision_of_study", "study_uid", "revision"),
)

job = Table(
    "job",
    tables,
    Column("id", Integer, primary_key=True),
    Column("study_uid", UID, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("plugin", String, nullable=False),
    Column("version", String, nullable=False),
    Column("route", String, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("destinations", JSON, nullable=False),
    Column("priority", Integer, nullable=False, comment="of its route and of its images, together"),
    Column("sender", String(16), nullable=False, server_default="", comment="AE title that sent its study"),
    Column("digest", String, nullable=False),
    Column("caveat", Text, nullable=False, server_default="", comment="what is missing in its study"),
    Column("allow_demonstration", Boolean, nullable=False, server_default="0", comment="all of its routes allow it"),
    Column("report_not_suitable", Boolean, nullable=False, server_default="1", comment="one of its routes asks for it"),
    Column("ordinal", Integer, nullable=False, comment="counts the jobs of the study: keeps series numbers apart"),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("planned_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("worker", String, nullable=False),
    Column("lease_until", Float, nullable=False),
    Column("finished_at", Float),
    Column("reason", Text, nullable=False),
    UniqueConstraint("study_uid", "revision", "plugin", "version"),
    Index("job_due", "state", "due_at"),
)

turn = Table(
    "turn",
    tables,
    Column("sender", String(16), primary_key=True),
    Column("served", BigInteger, nullable=False, comment="counts claims: who has the lowest number has waited longest"),
)

result_object = Table(
    "object",
    tables,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("job_id", ForeignKey("job.id"), nullable=False, index=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("series_uid", UID, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("path", String, nullable=False, comment="below the spool"),
    Column("purged_at", Float, comment="when its file was let go"),
)

delivery = Table(
    "delivery",
    tables,
    Column("sop_instance_uid", ForeignKey("object.sop_instance_uid"), primary_key=True),
    Column("destination", String, primary_key=True),
    Column("study_uid", UID, nullable=False, index=True),
    Column("priority", Integer, nullable=False, server_default="0", comment="of its job"),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("queued_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("delivered_at", Float),
    Column("begun_at", Float, comment="when it was begun to be sent; null again once its destination has answered"),
    Column("ask_at", Float, comment="when to ask for its commitment; null where the destination is not asked"),
    Column("asks", Integer, nullable=False, default=0, server_default="0", comment="since it was last delivered"),
    Column("committed_at", Float),
    Column("worker", String, nullable=False, server_default="", comment="the claim that may say what became of it"),
    Column("lease_until", Float, nullable=False, server_default="0", comment="until then it is left to its worker"),
    Column("reason", Text, nullable=False),
    Index("delivery_due", "destination", "state", "due_at"),
    Index("delivery_to_ask_for", "destination", "state", "ask_at"),
    Index("delivery_in_state", "state"),
)

commitment = Table(
    "commitment",
    tables,
    Column("transaction_uid", UID, primary_key=True),
    Column("destination", String, nullable=False),
    Column("ae_title", String(16), nullable=False, comment="of the destination, which alone may answer"),
    Column("asked_at", Float, nullable=False),
    Column("answered_at", Float),
    comment="every transaction this node began as SCU of Storage Commitment",
)

commitment_item = Table(
    "commitment_item",
    tables,
    Column("transaction_uid", ForeignKey("commitment.transaction_uid"), primary_key=True),
    Column("sop_instance_uid", ForeignKey("object.sop_instance_uid"), primary_key=True),
    Column("result", Integer, comment="null: no answer yet; 0: committed; else the failure reason"),
    Index("commitment_item_of_object", "sop_instance_uid"),
    comment="what a transaction asks for; gone once its delivery has moved",
)

commitment_request = Table(
    "commitment_request",
    tables,
    Column("transaction_uid", UID, primary_key=True),
    Column("calling", String(16), primary_key=True),
    Column("references", JSON, nullable=False, comment="[SOP class UID, SOP instance UID] of each"),
    Column("received_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reported_at", Float),
    Column("reason", Text, nullable=False, comment="why it could not be reported so far"),
    Index("commitment_request_due", "reported_at", "due_at"),
    comment="every transaction a sender began with this node as SCP of Storage Commitment",
)

fetch = Table(
    "fetch",
    tables,
    Column("series_uid", UID, primary_key=True),
    Column("study_uid", UID, nullable=False, index=True),
    Column("calling", String(16), nullable=False, comment="AE title that asked for it by C-MOVE"),
    Column("asked_at", Float, nullable=False),
    Column("came_at", Float, comment="when all of it was here; null: perhaps a part of it is"),
    comment="every series this node asked for, to be compared with",
)

event = Table(
    "event",
    tables,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("study_uid", UID, nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("detail", Text, nullable=False),
)
