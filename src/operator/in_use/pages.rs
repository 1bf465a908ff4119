//! One list of the API server, read to its end.

use kube::{
    Api, Client,
    api::ListParams,
    core::{ApiResource, DynamicObject},
};

use super::{error::Error, source::name_of};

/// Objects that are asked for at once: a pod is some ten kilobytes and several times that in memory, and more than
/// one policy may be listing.
const PAGE: u32 = 200;

/// A list that runs out before it was read to its end is begun again, so many times. One runs out after five
/// minutes, or when the API server forgets it early; a cluster where that happens every time needs its owner.
pub(super) const MAX_BEGINNINGS: usize = 3;

/// Calls `seen` with every object of a kind, of one namespace or of all. What was seen before a list ran out may be
/// seen again: it was there a moment ago.
///
/// The list is not the API server's cached one: without a resource version it is as new as its store. A list of
/// several pages is one snapshot.
///
/// # Errors
/// When the list cannot be read to its end, or `seen` fails.
pub(super) async fn each_object(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    seen: &mut impl FnMut(&DynamicObject) -> Result<(), Error>,
) -> Result<(), Error> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    for _ in 0..MAX_BEGINNINGS {
        match read_to_the_end(&api, resource, seen).await? {
            End::Reached => return Ok(()),
            End::Expired => {
                tracing::warn!(resource = name_of(resource), "a list of the cluster ran out, and begins again");
            }
        }
    }
    Err(Error::Expired { resource: name_of(resource) })
}

/// How far a list was read.
enum End {
    Reached,
    /// 410 Gone: what the continue token stands for is no longer there.
    Expired,
}

async fn read_to_the_end(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    seen: &mut impl FnMut(&DynamicObject) -> Result<(), Error>,
) -> Result<End, Error> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(End::Expired),
            Err(error) => return Err(Error::listing(name_of(resource), error)),
        };
        page.items.iter().try_for_each(&mut *seen)?;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            None => return Ok(End::Reached),
            Some(token) => params = params.continue_token(&token),
        }
    }
}
