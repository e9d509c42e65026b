mod batch;
mod lifecycle;
mod paths;
pub(crate) mod world;
mod year;

pub(crate) use world::World;
