"""What the parity and command tests share: the executable, the references, and how values are compared."""
