"""The model on its way out: targets built and run in processes of their own, and the folder that ships, signed and checked."""
