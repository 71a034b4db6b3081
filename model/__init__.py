"""The networks and the tensor arithmetic around them; imports torch only."""
