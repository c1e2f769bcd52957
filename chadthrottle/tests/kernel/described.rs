//! Whether JSON is what a description of a Varlink interface says, as a parser of others reads it.

use std::collections::BTreeMap;

use serde_json::Value;
use zlink_idl::{CustomType, Field, Interface, Type};

/// A description, and its types by their names.
pub struct Described<'a> {
    interface: &'a Interface<'a>,
    types: BTreeMap<&'a str, &'a CustomType<'a>>,
    lists_are_filled: bool,
}

impl<'a> Described<'a> {
    /// With `lists_are_filled` each list has to hold something, so that no type goes unchecked.
    pub fn by(interface: &'a Interface<'a>, lists_are_filled: bool) -> Self {
        let types = interface.custom_types();
        Self {
            interface,
            types: types
                .map(|custom| (custom.name().as_str(), custom))
                .collect(),
            lists_are_filled,
        }
    }

    /// Whether these are parameters of a method.
    #[track_caller]
    pub fn check_call(&self, method: &str, parameters: &Value) {
        self.check_object(parameters, self.method(method).inputs(), method);
    }

    /// Whether a method's reply has these parameters.
    #[track_caller]
    pub fn check_reply(&self, method: &str, parameters: &Value) {
        let path = format!("reply to {method}");
        self.check_object(parameters, self.method(method).outputs(), &path);
    }

    /// Whether an error has these parameters.
    #[track_caller]
    pub fn check_error(&self, name: &str, parameters: &Value) {
        let mut errors = self.interface.errors();
        let error = errors.find(|error| error.name().as_str() == name);
        let error = error.unwrap_or_else(|| panic!("{name} is not described"));
        self.check_object(parameters, error.fields(), name);
    }

    #[track_caller]
    fn method(&self, name: &str) -> &zlink_idl::Method<'a> {
        let mut methods = self.interface.methods();
        let method = methods.find(|method| method.name().as_str() == name);
        method.unwrap_or_else(|| panic!("{name} is not described"))
    }

    /// Whether a value is of that type; `path` is where it stands.
    #[track_caller]
    fn check(&self, value: &Value, is: &Type<'_>, path: &str) {
        let fits = match is {
            Type::Bool => value.is_boolean(),
            Type::Int => value.is_i64() || value.is_u64(),
            Type::Float => value.is_number(),
            Type::String => value.is_string(),
            Type::ForeignObject => value.is_object(),
            Type::Optional(inner) => {
                if !value.is_null() {
                    self.check(value, inner.inner(), path);
                }
                true
            }
            Type::Array(inner) => {
                let all = value
                    .as_array()
                    .unwrap_or_else(|| panic!("{path}: {value}"));
                assert!(
                    !self.lists_are_filled || !all.is_empty(),
                    "{path}: none to look at"
                );
                for one in all {
                    self.check(one, inner.inner(), &format!("{path}[]"));
                }
                true
            }
            Type::Enum(variants) => variants
                .iter()
                .any(|variant| Some(variant.name().as_str()) == value.as_str()),
            Type::Custom(name) => {
                let custom = self.types.get(name.as_str());
                let custom = custom.unwrap_or_else(|| panic!("{path}: no type {name}"));
                let object = custom.as_object().expect("an object");
                self.check_object(value, object.fields(), path);
                true
            }
            other => panic!("{path}: {other:?}"),
        };
        assert!(fits, "{path} is no {is:?}: {value}");
    }

    /// Whether an object has these fields, and no other.
    #[track_caller]
    fn check_object<'b>(
        &self,
        value: &Value,
        fields: impl Iterator<Item = &'b Field<'b>>,
        path: &str,
    ) {
        let object = value
            .as_object()
            .unwrap_or_else(|| panic!("{path}: {value}"));
        let fields: BTreeMap<_, _> = fields
            .map(|field| (field.name().as_str(), field.ty()))
            .collect();
        for name in object.keys() {
            assert!(
                fields.contains_key(name.as_str()),
                "{path}.{name} is not described"
            );
        }
        for (name, is) in fields {
            let value = object.get(name).unwrap_or(&Value::Null);
            self.check(value, is, &format!("{path}.{name}"));
        }
    }
}
