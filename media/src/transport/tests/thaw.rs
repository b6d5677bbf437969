//! thaw
