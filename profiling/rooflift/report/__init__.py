"""What people see: tables, text, Markdown, HTML, figures."""
