"""DICOM images as values: data sets, pixels, stacks, series and volumes. Nothing here knows a stage of the flow."""
