//! Reading JSON objects, and nothing else, into structs.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A struct that is read from an object only. What serde derives also takes an array of the fields' values, in their
/// order, which no other reader of the same bytes would take for the same thing; and its messages name the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<T>(pub T);

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: u8,
        #[serde(default)]
        y: u8,
    }

    #[test]
    fn struct_is_read_from_an_object_and_from_nothing_else() {
        let read = serde_json::from_str::<Object<Point>>(r#"{"x": 1}"#).unwrap();
        assert_eq!(read.0, Point { x: 1, y: 0 });
        assert!(serde_json::from_str::<Object<Point>>(r#"{"x": 1, "z": 2}"#).is_err());
        for text in ["[1, 2]", "[]", "1", "\"x\"", "null"] {
            let said = serde_json::from_str::<Object<Point>>(text).unwrap_err().to_string();
            assert!(said.contains("expected an object") && !said.contains("Point"), "{text}: {said}");
        }
    }
}
