mod batch;
mod lifecycle;
mod paths;
mod world;
mod year;

pub(crate) use world::World;
