//! The other side: launchers of real servers, and scripted peers.
