//! Floors 4 and up, the domains: what this program is about. Each folder is one subject; the list stands in floor order.

pub mod standings; // 5  who stands where

pub mod players; // 6  who is in the group

pub mod leaderboards; // 7  boards of scores, and every board's pages
