//! States taken apart and put together, on made-up ones.

use std::sync::Arc;

use super::rows::*;

const STREAMS: u32 = 3;

/// A state of one layer: keys of 2 bytes a token, values of 3 numbers of 1 byte, transposed or not. Cells in this order.
fn state(positions: &[u32], transposed: bool, extra: bool) -> Vec<u8> {
    let words = |list: &[u32]| -> Vec<u8> { list.iter().flat_map(|n| n.to_le_bytes()).collect() };
    let mut bytes = words(&[0xaf14_3cd8, 1, STREAMS, 0, positions.len() as u32]);
    for position in positions {
        bytes.extend(words(&[*position, 1]));
        bytes.extend(words(&[position * 10, position * 10 + 1, 7][..if extra { 3 } else { 0 }]));
        bytes.extend(words(&[1]));
    }
    bytes.extend(words(&[u32::from(transposed), 1, 0, 0, 1, 2, 0]));
    bytes.extend(positions.iter().flat_map(|p| [*p as u8, 100 + *p as u8]));
    if transposed {
        bytes.extend(words(&[1, 1, 3]));
        bytes.extend((0..3).flat_map(|line| positions.iter().map(move |p| line * 50 + *p as u8)));
    } else {
        bytes.extend(words(&[1, 3, 0]));
        bytes.extend(positions.iter().flat_map(|p| [0, 1, 2].map(|line| line * 50 + *p as u8)));
    }
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn what_was_cut_fits_together() {
    for (transposed, extra) in [(false, false), (true, false), (false, true), (true, true)] {
        let straight = state(&[0, 1, 2, 3, 4], transposed, extra);
        let mixed = state(&[3, 0, 4, 1, 2], transposed, extra);
        let form = Arc::new(Form::of(&straight).unwrap());
        assert_eq!(form.token_bytes(), if extra { 17 } else { 5 });
        let all = Rows::of(&form, &straight, 0..5).unwrap();
        assert_eq!(Rows::of(&form, &mixed, 0..5).unwrap().bytes(), all.bytes());
        let (a, b) = (Rows::of(&form, &mixed, 0..2).unwrap(), Rows::of(&form, &mixed, 2..5).unwrap());
        assert_eq!(all.part(2..5).bytes(), b.bytes());
        let together = |end| {
            let mut bytes = vec![7; 9];
            Rows::write_state(&form, &[&a, &b], end, &mut bytes);
            bytes
        };
        assert_eq!(Rows::of(&form, &together(5), 0..5).unwrap().bytes(), all.bytes());
        let begin = together(4);
        assert_eq!(Rows::of(&form, &begin, 0..4).unwrap().bytes(), all.part(0..4).bytes());
        assert_eq!(Rows::from_bytes(&form, 5, all.bytes().to_vec()).unwrap().bytes(), all.bytes());
        assert!(Rows::from_bytes(&form, 4, all.bytes().to_vec()).is_none());
        assert!(Rows::from_bytes(&form, 0, Vec::new()).is_none());
        assert!(Rows::of(&form, &straight, 0..6).is_none() && Rows::of(&form, &straight, 2..2).is_none());
        let other = state(&[0], !transposed, extra);
        assert!(Rows::of(&form, &other, 0..1).is_none(), "another form");
        assert_ne!(form.name(), Form::of(&other).unwrap().name());
    }
}

/// Whatever llama.cpp may give one day: no panic, and no more memory than the bytes have.
#[test]
fn other_forms_are_not_known() {
    let good = state(&[0, 1, 2], true, false);
    for cut in 0..good.len() {
        assert!(Form::of(&good[..cut]).is_none(), "{cut} bytes");
    }
    let mut known = 0;
    for at in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            known += usize::from(Form::of(&bytes).is_some());
        }
    }
    // The mark, the sequences, types, rotations and the numbers themselves may be anything.
    assert!(known < 3 * good.len(), "{known}");
    assert!(Form::of(&state(&[0, 0], false, false)).is_none(), "a position twice");
    assert!(Form::of(&state(&[0, 2], false, false)).is_none(), "a gap");
}
