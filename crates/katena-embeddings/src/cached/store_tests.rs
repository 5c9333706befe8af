use std::fs;

use super::*;

fn key(n: u32) -> Key {
    let mut key = Key::default();
    key[..4].copy_from_slice(&n.to_le_bytes());
    key
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names
}

fn has(store: &mut Store, n: u32) -> bool {
    store.find(&[key(n)], 2)[0].is_some()
}

#[test]
fn what_is_put_is_found_also_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), 1 << 20).unwrap();
    store.put(&[(key(1), vec![1.0, 2.0]), (key(2), vec![3.0, 4.0])]).unwrap();
    assert_eq!(store.find(&[key(2), key(9), key(1)], 2), [Some(vec![3.0, 4.0]), None, Some(vec![1.0, 2.0])]);
    assert_eq!(store.find(&[key(1)], 3), [None], "other dimensions are another space");
    let mut again = Store::open(folder.path(), 1 << 20).unwrap();
    assert!(has(&mut again, 1) && has(&mut again, 2));
}

#[test]
fn two_processes_see_each_others_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = Store::open(folder.path(), 1 << 20).unwrap();
    let mut two = Store::open(folder.path(), 1 << 20).unwrap();
    for n in 0..10 {
        one.put(&[(key(n), vec![0.0, 0.0])]).unwrap();
        two.put(&[(key(100 + n), vec![0.0, 0.0])]).unwrap();
        assert!(has(&mut two, n) && has(&mut one, 100 + n), "{n}");
    }
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn a_torn_tail_and_a_flipped_byte_lose_only_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), 1 << 20).unwrap();
    store.put(&[(key(1), vec![1.0, 2.0]), (key(2), vec![3.0, 4.0]), (key(3), vec![5.0, 6.0])]).unwrap();
    let file = names(folder.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole[..whole.len() - 3].to_vec();
    damaged[50] ^= 1;
    fs::write(&file, damaged).unwrap();
    let mut again = Store::open(folder.path(), 1 << 20).unwrap();
    assert_eq!([1, 2, 3].map(|n| has(&mut again, n)), [false, true, false]);
    // The one that was open sees the damage when it reads.
    assert_eq!([1, 2, 3].map(|n| has(&mut store, n)), [false, true, false]);
    // A record that was cut off by the reader's moment is found once it is whole.
    fs::write(&file, &whole).unwrap();
    assert!(has(&mut again, 3));
}

#[test]
fn the_oldest_go_beyond_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let max = 64 << 10;
    let mut store = Store::open(folder.path(), max).unwrap();
    for n in 0..2000 {
        store.put(&[(key(n), vec![0.0, 0.0])]).unwrap();
        assert!(store.size().1 <= max + 100);
    }
    assert!(has(&mut store, 1999) && !has(&mut store, 0));
    let on_disk: u64 = names(folder.path()).iter().map(|p| fs::metadata(p).unwrap().len()).sum();
    assert!(on_disk <= max + 100 && on_disk > max / 2, "{on_disk}");
    let mut again = Store::open(folder.path(), max).unwrap();
    assert_eq!(again.size().0, store.size().0);
    assert!(has(&mut again, 1999));
}

#[test]
fn files_of_many_runs_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let old = SystemTime::now() - Duration::from_secs(3600);
    for n in 0..40 {
        let mut store = Store::open(folder.path(), 1 << 20).unwrap();
        store.put(&[(key(n), vec![0.5, n as f32])]).unwrap();
        for path in names(folder.path()) {
            File::options().append(true).open(path).unwrap().set_modified(old).unwrap();
        }
    }
    let mut store = Store::open(folder.path(), 1 << 20).unwrap();
    assert!(names(folder.path()).len() < 40, "{}", names(folder.path()).len());
    assert!((0..40).all(|n| has(&mut store, n)));
}

#[test]
fn strange_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    fs::write(folder.path().join("x.kev"), "KEV1 no record at all KEV1").unwrap();
    let mut store = Store::open(folder.path(), 1 << 20).unwrap();
    assert!(!has(&mut store, 1));
    store.put(&[(key(1), vec![1.0, 2.0])]).unwrap();
    assert!(has(&mut store, 1) && folder.path().join("notes.txt").exists());
}

#[test]
fn a_removed_folder_is_an_error_of_writing_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("cache"), 1 << 20).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(!has(&mut store, 1));
    assert!(store.put(&[(key(1), vec![1.0, 2.0])]).is_err());
}
