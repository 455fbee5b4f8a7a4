"""What people see: terminal tables, figures, reports."""
