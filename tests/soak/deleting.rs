//! Deletes, and that nobody answers with what is deleted.

use std::time::Instant;

use rand::Rng as _;
use serde_json::json;

use crate::book::{Entry, State};
use crate::caller::Answer;
use crate::digest::sha256;
use crate::image::{Blob, Image};
use crate::life::Life;
use crate::tally::Invariant;

impl Life {
    /// Deletes an image by its digest, and looks whether its entry is in the trash.
    pub(crate) async fn delete(&mut self, book: usize) {
        let Some(image) = self.books[book].any(State::Present, &mut self.rng) else { return };
        let (digest, name) = (image.digest.clone(), self.books[book].name.clone());
        let tags = self.books[book].tags_of(&digest);
        let at = self.replica();
        let answer = self.caller.delete(at, &format!("/v2/{name}/manifests/{digest}")).await;
        match answer.status {
            202 => {
                self.site.count("deletes");
                self.books[book].deleted(&digest);
                self.is_gone(&format!("/v2/{name}/manifests/{digest}")).await;
                for tag in &tags {
                    self.is_gone(&format!("/v2/{name}/manifests/{tag}")).await;
                }
                self.find_entry(book, digest, tags, false, answer.began).await;
            }
            404 => self.site.violation(Invariant::I4, &format!("what was pushed is unknown: {answer}")),
            _ => {
                self.expect_evasive(&answer);
                self.books[book].unsettle(&image, true, answer.ended);
                self.books[book].may_untag(&digest, answer.ended);
            }
        }
    }

    /// Deletes a tag alone.
    pub(crate) async fn delete_tag(&mut self, book: usize) {
        let tag = self.tag();
        let Some(Some(digest)) = self.books[book].target(&tag).map(|target| target.map(str::to_owned)) else { return };
        let path = format!("/v2/{}/manifests/{tag}", self.books[book].name);
        let at = self.replica();
        let answer = self.caller.delete(at, &path).await;
        match answer.status {
            202 => {
                self.site.count("deletes of tags");
                self.books[book].point(&tag, None);
                self.is_gone(&path).await;
                self.find_entry(book, digest, vec![tag], true, answer.began).await;
            }
            404 => self.site.violation(Invariant::I4, &format!("what was tagged is unknown: {answer}")),
            _ => {
                self.expect_evasive(&answer);
                self.books[book].may_point(&tag, None, answer.ended);
            }
        }
    }

    /// Deletes all of a repository, and half of the time brings it back.
    pub(crate) async fn delete_repository(&mut self, book: usize) {
        if !self.books[book].is_settled() || self.books[book].present_count() == 0 {
            return;
        }
        let name = self.books[book].name.clone();
        let images = self.books[book].present();
        let tagged: Vec<(String, String)> = images
            .iter()
            .flat_map(|image| {
                self.books[book].tags_of(&image.digest).into_iter().map(|tag| (tag, image.digest.clone()))
            })
            .collect();
        let at = self.replica();
        let answer = self.caller.delete(at, &format!("/v2/_lagan/repositories/{name}")).await;
        if answer.status != 202 {
            self.expect_evasive(&answer);
            for image in &images {
                self.books[book].unsettle(image, true, answer.ended);
                self.books[book].may_untag(&image.digest, answer.ended);
            }
            return;
        }
        self.site.count("deletes of repositories");
        for image in &images {
            self.books[book].deleted(&image.digest);
            self.is_gone(&format!("/v2/{name}/manifests/{}", image.digest)).await;
        }
        if answer.json()["manifests"] != json!(images.len()) {
            self.site.violation(Invariant::I4, &format!("{} images were there: {answer}", images.len()));
        }
        if self.rng.random_bool(0.5) {
            self.restore_repository(book, &answer, &images, &tagged).await;
        }
    }

    /// Brings back all that a delete took, with its tags.
    async fn restore_repository(
        &mut self,
        book: usize,
        deleted: &Answer,
        images: &[Image],
        tagged: &[(String, String)],
    ) {
        let name = &self.books[book].name;
        let back = json!({"repository": name, "group": deleted.json()["group"], "conflict": "Fail"});
        let at = self.replica();
        let answer = self.caller.post(at, "/v2/_lagan/trash/restore", &back).await;
        let is_back = answer.status == 200;
        for image in images {
            if is_back {
                self.books[book].put(image, State::Present);
            } else {
                self.books[book].unsettle(image, false, answer.ended);
            }
        }
        for (tag, digest) in tagged {
            if is_back {
                self.books[book].point(tag, Some(digest));
            } else {
                self.books[book].may_point(tag, Some(digest), answer.ended);
            }
        }
        if is_back {
            self.site.count("restores of repositories");
        } else if !answer.is_evasive() && !self.is_expiring(deleted.began) {
            self.site.violation(Invariant::I3, &format!("a group is not restored: {answer}"));
        }
    }

    /// Pushes a blob that no manifest references, deletes it, and brings it back.
    pub(crate) async fn delete_blob(&mut self, book: usize) {
        let blob = Blob::own(&mut self.rng);
        let bytes = blob.bytes();
        let (digest, name) = (sha256(&bytes), self.books[book].name.clone());
        if self.push_blob(book, &digest, blob).await.is_none() {
            return;
        }
        let path = format!("/v2/{name}/blobs/{digest}");
        let at = self.replica();
        let answer = self.caller.delete(at, &path).await;
        if answer.status != 202 {
            return self.expect_evasive(&answer);
        }
        self.site.count("deletes of blobs");
        self.is_gone(&path).await;
        let at = self.replica();
        let back = json!({"repository": name, "reference": digest});
        let restored = self.caller.post(at, "/v2/_lagan/restore", &back).await;
        match restored.status {
            200 => self.site.count("restores of blobs"),
            _ if restored.is_evasive() => return,
            _ => return self.site.violation(Invariant::I3, &format!("a blob is not restored: {restored}")),
        }
        let at = self.replica();
        let read = self.caller.get(at, &path).await;
        if !read.is_evasive() && (read.status != 200 || read.body != bytes) {
            self.site.violation(Invariant::I3, &format!("a restored blob is not there: {read}"));
        }
    }

    /// No replica that answers has it.
    pub(crate) async fn is_gone(&self, path: &str) {
        for replica in self.site.serving() {
            let answer = self.caller.head(replica, path).await;
            if !answer.is_evasive() && answer.status != 404 {
                self.site.violation(Invariant::I5, &format!("after its delete: {answer}"));
            }
        }
    }

    /// Notes what a delete left in the trash.
    async fn find_entry(&mut self, book: usize, digest: String, tags: Vec<String>, is_tag: bool, deleted: Instant) {
        let name = &self.books[book].name;
        let reference = if is_tag { &tags[0] } else { &digest };
        let path = format!("/v2/_lagan/trash?repository={name}&reference={reference}&n=1");
        let at = self.replica();
        let answer = self.caller.get(at, &path).await;
        if answer.status != 200 {
            return self.expect_evasive(&answer);
        }
        let page = answer.json();
        let entry = &page["entries"][0];
        let (kind, is_late) = (if is_tag { "Tag" } else { "Manifest" }, self.is_expiring(deleted));
        if entry["digest"] == json!(digest) && entry["kind"] == kind && entry["state"] == "Restorable" {
            let id = entry["id"].as_str().unwrap().to_owned();
            let held: Vec<String> = serde_json::from_value(entry["tags"].clone()).unwrap();
            if !tags.iter().all(|tag| held.contains(tag)) {
                self.site.violation(Invariant::I3, &format!("of {tags:?} the trash does not hold all: {answer}"));
            }
            self.books[book].trash.push(Entry { id, digest, tags: held, is_tag, deleted });
        } else if !is_late {
            self.site.violation(Invariant::I3, &format!("what was deleted is not in the trash: {answer}"));
        }
    }

    /// Whether what was deleted then may be out of the trash soon.
    pub(crate) fn is_expiring(&self, deleted: Instant) -> bool {
        let times = self.site.settings.times;
        deleted.elapsed() + times.recovery * 2 > times.restore_window
    }

    /// Says so where an answer is neither what was asked for nor evasive.
    pub(crate) fn expect_evasive(&self, answer: &Answer) {
        if !answer.is_evasive() {
            self.site.spurious(&answer.to_string());
        }
    }
}
