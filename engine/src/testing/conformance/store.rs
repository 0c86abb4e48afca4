//! What every store of checkpoints must do.

use std::sync::Barrier;
use std::thread;

use crate::checkpoint::StoreErrorKind;
use crate::checkpoint::store::Store;

/// How many threads ask for one name at once, and how often.
const THREADS: usize = 4;
const ROUNDS: usize = 20;

/// Checks that an empty store keeps what it is given, byte for byte, makes each object only once, even
/// where several want it at once, lists them by folder, and deletes them.
///
/// # Panics
/// When it does not.
pub fn check_store(store: &dyn Store) {
    check_objects(store);
    check_races(store);
}

fn check_objects(store: &dyn Store) {
    let kind = |result: Result<Vec<u8>, crate::checkpoint::StoreError>| {
        result.expect_err("there is no such object").kind
    };
    assert_eq!(kind(store.read("log/1")), StoreErrorKind::NotFound);
    assert_eq!(
        kind(store.read_range("log/1", 0..1)),
        StoreErrorKind::NotFound
    );
    assert_eq!(store.list("log").expect("an empty list"), []);
    store.delete("log/1").expect("nothing is deleted");

    let content: Vec<u8> = (0..=255).collect();
    store.create("log/1", &content).expect("an object is made");
    store
        .create("log/deep/2", b"")
        .expect("an empty object is made");
    store.create("logs/3", b"x").expect("an object is made");
    for other in [&content[..], b"other"] {
        let error = store.create("log/1", other).expect_err("it is there");
        assert_eq!(error.kind, StoreErrorKind::AlreadyExists);
    }
    assert_eq!(store.read("log/1").expect("it is read"), content);
    assert_eq!(store.read("log/deep/2").expect("it is read"), b"");
    for range in [0..256, 3..7, 250..256, 250..300, 256..300, 5..5] {
        let end = |at: u64| usize::try_from(at.min(256)).expect("a small number");
        let expected = &content[end(range.start)..end(range.end)];
        let read = store.read_range("log/1", range.clone());
        assert_eq!(read.expect("a range is read"), expected, "{range:?}");
    }
    let list = |folder| -> Vec<(String, u64)> {
        let objects = store.list(folder).expect("a list");
        let pair = |object: crate::checkpoint::store::Object| (object.name, object.bytes);
        objects.into_iter().map(pair).collect()
    };
    let expected = [("log/1".to_owned(), 256), ("log/deep/2".to_owned(), 0)];
    assert_eq!(list("log"), expected);
    assert_eq!(list("log/deep"), expected[1..]);
    store.delete("log/1").expect("it is deleted");
    assert_eq!(kind(store.read("log/1")), StoreErrorKind::NotFound);
    assert_eq!(list("log"), expected[1..]);
    store
        .create("log/1", b"again")
        .expect("it can be made anew");
    assert_eq!(store.read("log/1").expect("it is read"), b"again");
}

fn check_races(store: &dyn Store) {
    let barrier = Barrier::new(THREADS);
    for round in 0..ROUNDS {
        let name = format!("races/{round}");
        let race = &|thread: usize| {
            let content = vec![u8::try_from(thread).expect("few threads"); 10_000];
            barrier.wait();
            let made = store.create(&name, &content);
            // Whoever has won, the object is whole for everybody from now on.
            let read = store.read(&name).expect("it is there");
            assert!(read.len() == 10_000 && read.iter().all(|byte| *byte == read[0]));
            match made {
                Ok(()) => assert_eq!(read, content),
                Err(error) => assert_eq!(error.kind, StoreErrorKind::AlreadyExists),
            }
            read
        };
        let read: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || race(i))).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|read| read.expect("no thread fails")).collect()
        });
        assert!(read.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
