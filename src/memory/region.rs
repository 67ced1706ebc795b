//! A page-aligned run of memory, zeroed, whose pages come when they are first touched.

use std::ffi::c_void;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// Anonymous private memory, unmapped on drop.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    octets: usize,
}

// SAFETY: the region owns its mapping, and hands out nothing but raw pointers into it.
unsafe impl Send for Region {}

impl Region {
    /// Maps so many octets, rounded up to pages by the kernel.
    pub fn new(octets: usize) -> Result<Self, Errno> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                octets,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, octets })
    }

    /// The address of an octet of the region.
    ///
    /// # Panics
    /// When `offset` lies outside.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.octets, "within the region");
        // SAFETY: the offset was just checked to lie within the one mapping.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// How many octets it has.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// These octets are the kernel's, or nobody's, from here on. AddressSanitizer, in a build that has it, ends the process when we
    /// touch them; elsewhere this does nothing.
    #[inline]
    pub fn give(&self, offset: usize, octets: usize) {
        let _ = (offset, octets);
        #[cfg(asan)]
        asan::forbid(self.at(offset), octets);
    }

    /// The kernel is done with these octets, or they are wanted again.
    #[inline]
    pub fn take(&self, offset: usize, octets: usize) {
        let _ = (offset, octets);
        #[cfg(asan)]
        asan::allow(self.at(offset), octets);
    }
}

/// Octets that are zero at first and begin on a page, as reads and writes past the page cache want them. Nobody else has them: they
/// are given to a call that is over when it returns, never to a ring.
#[derive(Debug)]
pub struct AlignedBuffer {
    region: Region,
    octets: usize,
}

impl AlignedBuffer {
    /// So many octets.
    pub fn new(octets: usize) -> Result<Self, Errno> {
        Ok(Self { region: Region::new(octets.max(1))?, octets })
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the region has so many octets, zero or written since; whoever writes them has the buffer for himself.
        unsafe { std::slice::from_raw_parts(self.region.start.as_ptr(), self.octets) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has the buffer.
        unsafe { std::slice::from_raw_parts_mut(self.region.start.as_ptr(), self.octets) }
    }
}

// SAFETY: shared, its octets are only read.
unsafe impl Sync for AlignedBuffer {}

#[cfg(asan)]
mod asan {
    //! What AddressSanitizer knows of memory that is not from the heap: what it is told.

    use std::ffi::c_void;

    // SAFETY: declared as sanitizer/asan_interface.h has them. They change what is checked, not memory, for any
    // address.
    unsafe extern "C" {
        safe fn __asan_poison_memory_region(start: *const c_void, octets: usize);
        safe fn __asan_unpoison_memory_region(start: *const c_void, octets: usize);
        safe fn __asan_address_is_poisoned(address: *const c_void) -> i32;
    }

    pub(super) fn forbid(start: *const u8, octets: usize) {
        assert_eq!(__asan_address_is_poisoned(start.cast()), 0, "given to the kernel twice");
        __asan_poison_memory_region(start.cast(), octets);
    }

    pub(super) fn allow(start: *const u8, octets: usize) {
        __asan_unpoison_memory_region(start.cast(), octets);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // Whatever is mapped here next is not the kernel's.
        self.take(0, self.octets);
        // SAFETY: the mapping was made by `new` with this very start and length, and is unmapped once. Whoever gave its
        // addresses to a ring drops the ring first.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast::<c_void>(), self.octets) };
        debug_assert!(unmapped.is_ok(), "an owned mapping can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zeroed_and_writable_to_its_end() {
        let region = Region::new(10_000).unwrap();
        let last = region.at(9_999);
        // SAFETY: the address lies in the region, which nobody else uses.
        assert_eq!(unsafe { last.read() }, 0);
        // SAFETY: as above.
        unsafe { last.write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { last.read() }, 7);
    }
    #[test]
    fn a_buffer_is_aligned_and_zeroed_and_its_own() {
        for octets in [0, 1, 4096, 10_000] {
            let mut buffer = AlignedBuffer::new(octets).unwrap();
            assert!(buffer.as_ptr().addr().is_multiple_of(4096));
            assert_eq!(&buffer[..], vec![0; octets]);
            buffer.fill(7);
            let there =
                std::thread::scope(|scope| scope.spawn(|| buffer.iter().all(|octet| *octet == 7)).join().unwrap());
            assert!(there);
        }
    }
}
