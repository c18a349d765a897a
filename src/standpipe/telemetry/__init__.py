"""Observers: logging for programs and for people. They see, they never decide."""
