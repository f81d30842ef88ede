//! What every engine must do, run on every engine.
