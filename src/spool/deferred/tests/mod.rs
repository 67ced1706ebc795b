//! Deferred mail on a disk that loses power: nothing is lost, nothing is invented, the disk is what waits and no more.

mod crash;
mod flat;
mod house;
mod lying;
mod orders;
mod poison;
mod spoiled;
mod time;
