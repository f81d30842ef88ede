//! Ranks: deciding who moves on the ladder, who is punished, and who is left alone.

pub mod decide;
