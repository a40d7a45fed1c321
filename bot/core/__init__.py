"""What a conversation is and how it is answered; free of platforms, torch and SQL."""
