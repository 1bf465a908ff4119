//! Several clients at once.

use std::thread;

use crate::registry::Registry;
use crate::support::{Image, Layer};

on_folder_and_bucket!(images_that_share_layers_are_pushed_at_once);

/// How many clients push at once.
const CLIENTS: usize = 8;

fn images_that_share_layers_are_pushed_at_once(registry: &Registry) {
    let shared: Vec<String> = (0..10).map(|number| format!("shared-{number}")).collect();
    let images: Vec<Image> = (0..CLIENTS)
        .map(|client| {
            let own = format!("own-{client}");
            let shared = shared.iter().map(|name| Layer::File { name, lines: 5000 });
            let layers: Vec<Layer<'_>> = shared.chain([Layer::File { name: &own, lines: 5000 }]).collect();
            Image::of(&layers)
        })
        .collect();

    // Half of them into one repository, half each into one of its own.
    let name = |client: usize| match client % 2 {
        0 => format!("shared/app:v{client}"),
        _ => format!("own/app{client}:latest"),
    };
    thread::scope(|scope| {
        for (client, image) in images.iter().enumerate() {
            scope.spawn(move || registry.address.push(image, &name(client)));
        }
    });

    for (client, image) in images.iter().enumerate() {
        registry.address.pull_is_identical(image, &name(client));
    }
}
