//! Images that differ in one byte each.
