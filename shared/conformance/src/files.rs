//! `FileStore`.

use crate::make::{self, NOW};
use bytes::Bytes;
use futures::TryStreamExt;
use runyard_runs::{AppId, FileId, FileStore, NewFile, Timestamp};
use std::sync::Arc;

type Store = Arc<dyn FileStore>;

const KIB: usize = 1024;

fn new_file(app: AppId) -> NewFile {
    NewFile {
        id: FileId(make::claim().0),
        app,
        name: "notes.txt".to_owned(),
        mime_type: "text/plain".to_owned(),
        expires_at: Timestamp(NOW.0 + 1000),
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap_or(0)).collect()
}

/// Stores a file in pieces of `piece` bytes.
async fn store_file(store: &Store, file: NewFile, content: &[u8], piece: usize) -> runyard_runs::File {
    let mut upload = store.create(file).await.unwrap();
    for piece in content.chunks(piece.max(1)) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    upload.finish().await.unwrap()
}

async fn read(store: &Store, app: AppId, id: FileId) -> Option<Vec<Bytes>> {
    Some(store.open(app, id).await.unwrap()?.try_collect().await.unwrap())
}

/// Files of any size are read as they were stored, in pieces of at most 64 KiB.
pub async fn what_is_stored_is_read_in_pieces(store: Store) {
    let app = make::app();
    for (size, piece) in [
        (0, 1),
        (1, 1),
        (64 * KIB - 1, 1000),
        (64 * KIB, 64 * KIB),
        (64 * KIB + 1, 7),
        (300_000, 256 * KIB),
        (5 * KIB * KIB + 3, 100_001),
        (3 * KIB * KIB, 3 * KIB * KIB),
    ] {
        let (file, content) = (new_file(app), content(size));
        let stored = store_file(&store, file.clone(), &content, piece).await;
        assert_eq!((stored.id, stored.size), (file.id, size as u64));
        assert_eq!((&stored.name, &stored.mime_type), (&file.name, &file.mime_type));
        assert_eq!(store.get(app, file.id).await.unwrap(), Some(stored));
        let pieces = read(&store, app, file.id).await.unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= 64 * KIB));
        assert!(pieces.concat() == content, "{size} bytes in pieces of {piece}");
    }
}

/// A file does not exist before its upload is finished, and never if the upload was dropped.
pub async fn an_unfinished_upload_leaves_nothing(store: Store) {
    let app = make::app();
    let file = new_file(app);
    for size in [0, 10, 700_000] {
        let mut upload = store.create(file.clone()).await.unwrap();
        upload.write(content(size).into()).await.unwrap();
        assert_eq!(store.get(app, file.id).await.unwrap(), None);
        assert!(read(&store, app, file.id).await.is_none());
        drop(upload);
        assert_eq!(store.get(app, file.id).await.unwrap(), None);
    }
    store_file(&store, file.clone(), b"the second attempt", 5).await;
    assert_eq!(read(&store, app, file.id).await.unwrap().concat(), b"the second attempt");
}

/// Another app can neither read nor delete a file.
pub async fn files_belong_to_one_app(store: Store) {
    let (app, other) = (make::app(), make::app());
    let file = new_file(app);
    store_file(&store, file.clone(), b"mine", 4).await;
    assert_eq!(store.get(other, file.id).await.unwrap(), None);
    assert!(read(&store, other, file.id).await.is_none());
    store.delete(other, file.id).await.unwrap();
    assert_eq!(read(&store, app, file.id).await.unwrap().concat(), b"mine");
}

/// Any name is stored unchanged.
pub async fn names_are_never_paths(store: Store) {
    let app = make::app();
    for name in [
        "../../../etc/passwd",
        "/etc/passwd",
        "a/b\\c",
        "",
        ".",
        "..",
        "nul\0",
        "\u{1f642}",
        &"x".repeat(5000),
    ] {
        let file = NewFile { name: name.to_owned(), mime_type: name.to_owned(), ..new_file(app) };
        let stored = store_file(&store, file.clone(), name.as_bytes(), 100).await;
        assert_eq!((stored.name.as_str(), stored.mime_type.as_str()), (name, name));
        assert_eq!(read(&store, app, file.id).await.unwrap().concat(), name.as_bytes());
    }
}

/// A deleted file no longer exists; an expired file is removed by the next sweep; other files stay. A store whose
/// backend removes expired files itself may remove none.
pub async fn deleted_and_expired_files_are_gone(store: Store) {
    let app = make::app();
    let kept = new_file(app);
    store_file(&store, kept.clone(), b"kept", 4).await;
    let deleted = new_file(app);
    store_file(&store, deleted.clone(), b"deleted", 4).await;
    for _ in 0..2 {
        store.delete(app, deleted.id).await.unwrap();
        assert_eq!(store.get(app, deleted.id).await.unwrap(), None);
        assert!(read(&store, app, deleted.id).await.is_none());
    }
    let mut expired = Vec::new();
    for at in 1..=3 {
        let file = NewFile { expires_at: Timestamp(at), ..new_file(app) };
        store_file(&store, file.clone(), b"expired", 4).await;
        expired.push(file.id);
    }
    let removed = store.delete_expired(Timestamp(100), 2).await.unwrap();
    if removed > 0 {
        assert_eq!(removed, 2);
        assert_eq!(store.delete_expired(Timestamp(100), 100).await.unwrap(), 1);
        assert_eq!(store.delete_expired(Timestamp(100), 100).await.unwrap(), 0);
        for id in expired {
            assert_eq!(store.get(app, id).await.unwrap(), None);
            assert!(read(&store, app, id).await.is_none());
        }
    }
    assert_eq!(read(&store, app, kept.id).await.unwrap().concat(), b"kept");
}
