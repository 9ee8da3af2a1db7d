"""What runs long, and how it is deployed: the platform of one machine, the model server, secrets, and files for Compose and Kubernetes."""
