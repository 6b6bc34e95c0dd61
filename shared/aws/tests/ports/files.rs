use crate::place::{Place, until};
use bytes::Bytes;
use futures::TryStreamExt;
use runyard_conformance::make::{self, NOW};
use runyard_runs::{AppId, FileId, FileStore, NewFile, Timestamp};
use std::{sync::Arc, time::Duration};

const MIB: usize = 1 << 20;

async fn file_store() -> (Arc<dyn FileStore>, Place) {
    let place = Place::new().await;
    (place.aws.files(), place)
}

runyard_conformance::file_store_tests!(file_store);

fn new_file(app: AppId) -> NewFile {
    NewFile {
        id: FileId(make::claim().0),
        app,
        name: "report.html".to_owned(),
        mime_type: "text/html; charset=utf-8".to_owned(),
        expires_at: NOW + Duration::from_hours(48),
    }
}

fn content(size: usize) -> Bytes {
    (0..size).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

async fn store(store: &dyn FileStore, file: &NewFile, content: &Bytes) {
    let mut upload = store.create(file.clone()).await.unwrap();
    for at in (0..content.len()).step_by(MIB) {
        upload.write(content.slice(at..content.len().min(at + MIB))).await.unwrap();
    }
    upload.finish().await.unwrap();
}

async fn read(store: &dyn FileStore, file: &NewFile) -> Option<Vec<u8>> {
    let pieces: Vec<Bytes> = store.open(file.app, file.id).await.unwrap()?.try_collect().await.unwrap();
    Some(pieces.concat())
}

#[tokio::test]
async fn files_over_8_mib_are_sent_in_parts() {
    let place = Place::new().await;
    let files = place.aws.files();
    for (size, parts) in [(8 * MIB, None), (8 * MIB + 1, Some("-2")), (20 * MIB + 3, Some("-3"))] {
        let (file, content) = (new_file(make::app()), content(size));
        store(&*files, &file, &content).await;
        assert!(read(&*files, &file).await.unwrap() == content, "{size} bytes");
        let key = format!("files/2026-06-12/{}/{}", file.app, file.id);
        let head = place.clients.s3.head_object().bucket(&place.config.bucket).key(key).send().await.unwrap();
        let tag = head.e_tag().unwrap().trim_matches('"');
        assert_eq!(tag.find('-').map(|dash| &tag[dash..]), parts, "{size} bytes: {tag}");
        assert_eq!(head.content_type(), Some("text/html; charset=utf-8"));
        assert_eq!(head.content_disposition(), Some("attachment"), "browsers do not render it");
    }
}

#[tokio::test]
async fn a_dropped_upload_is_aborted() {
    let place = Place::new().await;
    let file = new_file(make::app());
    let mut upload = place.aws.files().create(file.clone()).await.unwrap();
    for _ in 0..18 {
        upload.write(content(MIB)).await.unwrap();
    }
    let uploads = || async {
        let s3 = &place.clients.s3;
        let list = s3.list_multipart_uploads().bucket(&place.config.bucket).send().await.unwrap();
        list.uploads().len()
    };
    assert_eq!(uploads().await, 1, "two parts are stored");
    drop(upload);
    until("the upload is aborted", || async { uploads().await == 0 }).await;
    assert_eq!(place.objects().await, [""; 0]);
    assert_eq!(place.aws.files().get(file.app, file.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_canceled_write_leaves_no_gap() {
    let place = Place::new().await;
    let mut upload = place.aws.files().create(new_file(make::app())).await.unwrap();
    let sent = tokio::time::timeout(Duration::ZERO, upload.write(content(9 * MIB))).await;
    assert!(sent.is_err(), "a part takes longer than that");
    assert!(upload.write(content(1)).await.is_err());
    assert!(upload.finish().await.is_err());
    assert_eq!(place.objects().await, [""; 0]);
}

#[tokio::test]
async fn an_expired_file_is_not_found_and_its_content_is_deleted_after_that_day() {
    let place = Place::new().await;
    let (files, app) = (place.aws.files(), make::app());
    let expiring = |hours| NewFile { expires_at: NOW + Duration::from_hours(hours), ..new_file(app) };
    let (soon, later, last) = (expiring(1), expiring(24), expiring(72));
    for file in [&soon, &later, &last] {
        store(&*files, file, &content(10)).await;
    }
    place.clock.forward(Duration::from_hours(1));
    assert!(files.get(app, soon.id).await.unwrap().is_none());
    assert!(read(&*files, &soon).await.is_none());
    assert!(files.get(app, later.id).await.unwrap().is_some());
    assert_eq!(files.delete_expired(place.now(), 100).await.unwrap(), 0, "its day is not over");
    assert_eq!(place.objects().await.len(), 3);

    place.clock.forward(Duration::from_hours(48));
    // An object without a file, which a crash left behind, is deleted too.
    let orphan = format!("files/2026-06-11/{app}/{}", make::claim());
    let put = place.clients.s3.put_object().bucket(&place.config.bucket).key(&orphan);
    put.body(Bytes::from_static(b"x").into()).send().await.unwrap();
    let one = place.another().files();
    assert_eq!(one.delete_expired(place.now(), 1).await.unwrap(), 1);
    assert_eq!(one.delete_expired(place.now(), 100).await.unwrap(), 2);
    assert_eq!(one.delete_expired(place.now(), 100).await.unwrap(), 0);
    assert_eq!(place.objects().await, [format!("files/2026-06-13/{app}/{}", last.id)]);
    assert_eq!(read(&*files, &last).await.unwrap(), content(10));
}

#[tokio::test]
async fn an_interrupted_deletion_can_be_repeated() {
    let place = Place::new().await;
    let (files, file) = (place.aws.files(), new_file(make::app()));
    store(&*files, &file, &content(10)).await;
    files.delete(file.app, file.id).await.unwrap();
    assert_eq!(place.objects().await, [""; 0]);
    // As if the process had crashed between the two steps.
    let key = format!("files/2026-06-12/{}/{}", file.app, file.id);
    let put = place.clients.s3.put_object().bucket(&place.config.bucket).key(key);
    put.body(Bytes::from_static(b"x").into()).send().await.unwrap();
    assert!(read(&*files, &file).await.is_none(), "the file is deleted although its object exists");
    files.delete(file.app, file.id).await.unwrap();
    assert_eq!(place.objects().await, [""; 0]);
}

impl Place {
    fn now(&self) -> Timestamp {
        runyard_runs::Clock::now(&*self.clock)
    }
}
