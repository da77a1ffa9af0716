"""What people see: explain texts, word error rate, metrics."""
