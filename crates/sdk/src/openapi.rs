//! OpenAPI and help, made from declared paths.
