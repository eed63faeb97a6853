//! The script machine, the locks and the plugin against what Python tapescript
//! 0.7.2 and netaio 0.0.9 were seen to do, and against what nobody has made.

mod bounds;
mod locks;
mod noise;
mod notation;
mod plugin;
mod programs;
mod vectors;
