//! Servers that misbehave, each in one way.
