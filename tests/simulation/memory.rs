//! What each process of ours has of the heap: counted where it is taken and where it is given back,
//! whoever does that, by a word in front of every block that says whose it is.
//!
//! Left out: the stacks, the code, and what an allocator keeps for itself.

#![allow(
    unsafe_code,
    reason = "an allocator is an unsafe trait; this one writes an owner in front, and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Owners that are told apart in a thread.
const OWNERS: usize = 64;
/// Everything that is none of ours.
const WORLD: usize = 0;

thread_local! {
    static OWNER: Cell<usize> = const { Cell::new(WORLD) };
    static HELD: [Cell<isize>; OWNERS] = const { [const { Cell::new(0) }; OWNERS] };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Whom a block belongs to stands in the last word in front of it.
struct Owned;

fn count(owner: usize, bytes: isize) {
    if owner == WORLD || bytes == 0 {
        return;
    }
    // A thread that ends has no counters any more.
    let _ = HELD.try_with(|held| {
        let now = held[owner].get() + bytes;
        held[owner].set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
}

fn signed(bytes: usize) -> isize {
    bytes.cast_signed()
}

/// The block with room in front, and how much that is.
fn wider(layout: Layout) -> Option<(Layout, usize)> {
    let front = layout.align().max(2 * size_of::<usize>());
    let size = layout.size().checked_add(front)?;
    let wider = Layout::from_size_align(size, front).ok()?;
    Some((wider, front))
}

/// Notes the owner in front of what is behind `front` bytes.
///
/// # Safety
/// `base` has at least `front` bytes, of which there are two words at least.
unsafe fn own(base: *mut u8, front: usize, layout: Layout) -> *mut u8 {
    if base.is_null() {
        return base;
    }
    let owner = OWNER.try_with(Cell::get).unwrap_or(WORLD);
    count(owner, signed(layout.size()));
    // SAFETY: the caller's promise; `front` is a multiple of a word, and so aligned.
    unsafe {
        let block = base.add(front);
        block.cast::<usize>().sub(1).write(owner);
        block
    }
}

// SAFETY: blocks are the system allocator's, with room in front that only this module touches, of
// the same alignment.
unsafe impl GlobalAlloc for Owned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((wider, front)) = wider(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the size is not zero.
        unsafe { own(System.alloc(wider), front, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((wider, front)) = wider(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the size is not zero.
        unsafe { own(System.alloc_zeroed(wider), front, layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((wider, front)) = wider(layout) else {
            return;
        };
        // SAFETY: the block came from `own`, with the same layout.
        unsafe {
            count(
                pointer.cast::<usize>().sub(1).read(),
                -signed(layout.size()),
            );
            System.dealloc(pointer.sub(front), wider);
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some((wider, front)) = wider(layout) else {
            return std::ptr::null_mut();
        };
        let Some(wanted) = size.checked_add(front) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the block came from `own`, with the same layout; what is in front moves along.
        unsafe {
            let owner = pointer.cast::<usize>().sub(1).read();
            let base = System.realloc(pointer.sub(front), wider, wanted);
            if base.is_null() {
                return base;
            }
            count(owner, signed(size) - signed(layout.size()));
            base.add(front)
        }
    }
}

#[global_allocator]
static OWNED: Owned = Owned;

/// Forgets all that this thread has counted.
pub(crate) fn reset() {
    HELD.with(|held| held.iter().for_each(|held| held.set(0)));
    PEAK.set(0);
}

/// The most that any one process has had at once, in bytes.
pub(crate) fn peak() -> usize {
    PEAK.get().max(0).cast_unsigned()
}

/// What `work` takes is the process's of that number.
pub(crate) fn of_process<R>(number: u32, work: impl FnOnce() -> R) -> R {
    let owner = usize::try_from(number).unwrap_or_default() % (OWNERS - 1) + 1;
    of(owner, work)
}

/// What `work` takes is none of ours.
pub(crate) fn of_world<R>(work: impl FnOnce() -> R) -> R {
    of(WORLD, work)
}

fn of<R>(owner: usize, work: impl FnOnce() -> R) -> R {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            OWNER.set(self.0);
        }
    }
    let _restore = Restore(OWNER.replace(owner));
    work()
}
