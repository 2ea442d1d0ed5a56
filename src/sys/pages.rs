//! Our own program's pages.

use std::ffi::{c_int, c_void};

/// Gives back the resident pages of our code and constants, most of which only the start needs.
///
/// They are clean copies of our file: what is needed again comes back from the page cache, one
/// fault for sixteen pages.
pub fn give_back_pages() {
    // SAFETY: the function is called with our own program's headers before this returns, and
    // needs no data.
    unsafe { libc::dl_iterate_phdr(Some(give_back_segments), std::ptr::null_mut()) };
}

unsafe extern "C" fn give_back_segments(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the C library passes a valid description of a loaded program, the first of which
    // is our own, with as many headers as it says.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    let constant = |flags: u32| flags & libc::PF_R != 0 && flags & libc::PF_W == 0;
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        if !constant(header.p_flags) {
            continue;
        }
        // The kernel maps whole pages, and a segment's first one may begin before it.
        let start = (base + header.p_vaddr) & !0xfff;
        let length = base + header.p_vaddr + header.p_memsz - start;
        if let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(length)) {
            // SAFETY: the range is mapped from our file, never written, and read again from it
            // when it is touched; relocated data lies in a writable segment.
            unsafe {
                let start = std::ptr::with_exposed_provenance_mut(start);
                libc::madvise(start, length, libc::MADV_DONTNEED);
            }
        }
    }
    // One is enough: a static program is alone.
    1
}
