"""What runs on the server beside a network; copied whole into each model's folder, it imports nothing of the node."""
