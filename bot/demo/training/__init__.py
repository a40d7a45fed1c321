"""How the demo's chat adapter is made: the chats it learns from and the training loop."""
