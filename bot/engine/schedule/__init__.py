"""What the next step computes, and with which blocks: pure Python."""
