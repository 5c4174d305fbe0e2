//! Lua tests.
