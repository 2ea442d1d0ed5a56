//! Our own program's pages.

use std::ffi::{c_int, c_void};

/// Gives back the resident pages of our code and constants, most of which only the start needs, and
/// those of the stack that only deeper calls have used. Only the main thread may do so.
///
/// The former are clean copies of our file: what is needed again comes back from the page cache, one
/// fault for sixteen pages.
pub fn give_back_pages() {
    give_back_stack();
    // SAFETY: the function is called with our own program's headers before this returns, and
    // needs no data.
    unsafe { libc::dl_iterate_phdr(Some(give_back_segments), std::ptr::null_mut()) };
}

/// How far below us deeper calls have used the stack at most, as far as we care.
const DEPTH: usize = 96 << 10;

/// What is below the stack of whoever runs is dead: no signal is ever handled on it.
#[inline(never)]
fn give_back_stack() {
    let here = 0_u8;
    let (start, length) = below((&raw const here).addr(), page());
    // SAFETY: nobody has a reference to what is below our own frame, and it is read by nobody before
    // it is written again. Only the main thread comes here, below whose stack the kernel keeps at
    // least 256 pages free: where the stack has not grown so far there is nothing.
    unsafe {
        let start = std::ptr::with_exposed_provenance_mut(start);
        libc::madvise(start, length, libc::MADV_DONTNEED);
    }
}

/// Where the pages below an address on the stack begin, and how many bytes they are. One is spared,
/// for the calls from there.
fn below(here: usize, page: usize) -> (usize, usize) {
    let end = (here & !(page - 1)).saturating_sub(page);
    let start = end.saturating_sub(DEPTH) & !(page - 1);
    (start, end - start)
}

/// The size of a page in bytes, a power of two: 4 KiB, on some ARM machines 16 or 64.
fn page() -> usize {
    // SAFETY: the call takes an integer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).ok().filter(|page| page.is_power_of_two()).unwrap_or(64 << 10)
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
    for (start, length) in headers.iter().filter_map(|header| constant_pages(base, header, page()))
    {
        // SAFETY: the range is mapped from our file, never written, and read again from it
        // when it is touched; relocated data lies in a writable segment.
        unsafe {
            let start = std::ptr::with_exposed_provenance_mut(start);
            libc::madvise(start, length, libc::MADV_DONTNEED);
        }
    }
    // One is enough: a static program is alone.
    1
}

/// Where the pages of a segment begin that nobody writes to, and how many bytes they are.
fn constant_pages(base: u64, header: &libc::Elf64_Phdr, page: usize) -> Option<(usize, usize)> {
    let constant = header.p_flags & libc::PF_R != 0 && header.p_flags & libc::PF_W == 0;
    if header.p_type != libc::PT_LOAD || !constant {
        return None;
    }
    // The kernel maps whole pages, and a segment's first one may begin before it.
    let address = usize::try_from(base + header.p_vaddr).ok()?;
    let start = address & !(page - 1);
    Some((start, address - start + usize::try_from(header.p_memsz).ok()?))
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;

    fn segment(kind: u32, flags: u32, address: u64, size: u64) -> libc::Elf64_Phdr {
        libc::Elf64_Phdr {
            p_type: kind,
            p_flags: flags,
            p_offset: 0,
            p_vaddr: address,
            p_paddr: address,
            p_filesz: size,
            p_memsz: size,
            p_align: 0x1000,
        }
    }

    #[test]
    fn what_may_be_written_to_is_kept() {
        const BASE: u64 = 0x7f00_0000_0000;
        let (read, write, execute) = (libc::PF_R, libc::PF_W, libc::PF_X);
        let of = |kind, flags| constant_pages(BASE, &segment(kind, flags, 0x1234, 0x2000), 0x1000);
        assert_eq!(of(libc::PT_LOAD, read), Some((0x7f00_0000_1000, 0x2234)));
        assert_eq!(of(libc::PT_LOAD, read | execute), Some((0x7f00_0000_1000, 0x2234)));
        for flags in [read | write, write, 0, execute] {
            assert_eq!(of(libc::PT_LOAD, flags), None, "{flags}");
        }
        assert_eq!(of(libc::PT_NOTE, read), None);
        let large = constant_pages(BASE, &segment(libc::PT_LOAD, read, 0x1_1234, 0x2000), 0x1_0000);
        assert_eq!(large, Some((0x7f00_0001_0000, 0x3234)));
    }

    #[test]
    fn the_page_that_runs_and_the_next_are_kept() {
        for (here, page, expected) in [
            (0x7fff_0001_2345, 0x1000, (0x7ffe_ffff_9000, 0x1_8000)),
            (0x7fff_0001_2000, 0x1000, (0x7ffe_ffff_9000, 0x1_8000)),
            (0x7fff_0001_2345, 0x1_0000, (0x7ffe_fffe_0000, 0x2_0000)),
            (0x1000, 0x1000, (0, 0)),
        ] {
            assert_eq!(below(here, page), expected, "{here:x} {page:x}");
        }
    }

    #[test]
    fn headers_are_read_where_they_are_said_to_be() {
        // None of them has pages, so that nothing is given back.
        let headers = [segment(libc::PT_NOTE, libc::PF_R, 0, 1), segment(libc::PT_LOAD, 0, 0, 1)];
        let mut info = MaybeUninit::<libc::dl_phdr_info>::zeroed();
        // SAFETY: all zeroes is one, and the headers outlive the call.
        let done = unsafe {
            (*info.as_mut_ptr()).dlpi_phdr = headers.as_ptr();
            (*info.as_mut_ptr()).dlpi_phnum = 2;
            give_back_segments(info.as_mut_ptr(), size_of_val(&info), std::ptr::null_mut())
        };
        assert_eq!(done, 1);
    }
}
