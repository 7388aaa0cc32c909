"""Small tasks that tell recurrent cells apart."""
