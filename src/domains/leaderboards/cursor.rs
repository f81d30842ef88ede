//! Cursors of a board: the last place of a page, with its board, so that a cursor of one board is not taken for another's.

use crate::base::{Cursor, Error, Result};
use crate::domains::standings::{BoardId, Place};
use crate::store::Key;

pub fn encode(board: BoardId, last: &Place) -> String {
    let mut bytes = Vec::new();
    board.encode(&mut bytes);
    last.encode(&mut bytes);
    Cursor(bytes).encode()
}

/// The place a cursor of `board` stands for; a board nobody submitted to (`None`) has no cursors.
///
/// # Errors
/// `request.invalid` on `query.cursor` for anything [`encode`] did not make for this board.
pub fn decode(board: Option<BoardId>, text: &str) -> Result<Place> {
    let Cursor(bytes) = Cursor::decode(text)?;
    let mut rest = &bytes[..];
    let made_for = BoardId::decode(&mut rest).map_err(|_| foreign())?;
    let place = Place::decode(&mut rest).map_err(|_| foreign())?;
    if !rest.is_empty() || Some(made_for) != board {
        return Err(foreign());
    }
    Ok(place)
}

fn foreign() -> Error {
    Error::field(&["query", "cursor"], "cursor_invalid", "not a cursor of this board; leave it out to start over")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{RobloxId, Time, UserKey};
    use crate::domains::standings::{Order, Score};

    #[test]
    fn a_cursor_belongs_to_one_board() {
        let longest = UserKey::External("x".repeat(UserKey::MAX_EXTERNAL).into());
        for user in [UserKey::Roblox(RobloxId::new(RobloxId::MAX).unwrap()), longest] {
            let place = Place::for_score(Order::LowerFirst, Score::new(-1.5).unwrap(), Time(9), user);
            let text = encode(BoardId(7), &place);
            assert_eq!(decode(Some(BoardId(7)), &text).unwrap(), place);
            for (board, text) in
                [(Some(BoardId(8)), text.clone()), (None, text.clone()), (Some(BoardId(7)), text + "AA")]
            {
                assert_eq!(decode(board, &text).unwrap_err().code(), "request.invalid");
            }
        }
        assert!(decode(Some(BoardId(7)), "AAAA").is_err());
    }
}
