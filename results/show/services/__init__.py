"""Services as text and as a part of the report."""
