//! The library in the memory of Exim's daemon, made independent of its file.
//!
//! Who writes over a library in place (`cp new.so eximgrey.so`) changes the memory of every process that has
//! mapped it, or takes it away. A daemon that has preloaded it would end at the next connection, and with it
//! all mail. So the daemon copies the code into a file without a name, which nobody else can open, and maps
//! that in its place: the same bytes at the same addresses. All else gets into memory of no file: the kernel
//! takes away even the changed pages of a file that is cut off, and a child reads such memory without a page
//! fault. Its children inherit both. Where this cannot be done, all stays as the loader has made it.
//!
//! The copy of the code and the constants is made one page of 2 MB, where the kernel can: a child that runs
//! in there has one page fault, and not one for each 16 small pages, a dozen.

use std::ffi::{CString, c_int, c_void};
use std::fs::{self, File, Metadata};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr;

/// The name of the copy in /proc/PID/maps begins with this.
pub const COPY: &str = "/memfd:eximgrey.so";

/// What tells a copy of `file` from that of any other: the inode that was mapped, size and time of the last
/// change.
#[must_use]
pub fn stamp(inode: u64, file: &Metadata) -> String {
    format!("-{inode}-{}-{}.{:09}", file.size(), file.mtime(), file.mtime_nsec())
}

/// A piece of the library in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    start: usize,
    length: usize,
    protection: c_int,
}

impl Part {
    const fn end(&self) -> usize {
        self.start.saturating_add(self.length)
    }

    const fn may(&self, protection: c_int) -> bool {
        self.protection & protection != 0
    }

    /// The page of 2 MB that this part can lie in. Around it there must be room, which the linker leaves (see
    /// build.rs) and the loader keeps: all else would be mapped over. The loader aligns it since glibc 2.35.
    fn in_one_page(&self, all: &[Self]) -> Option<Self> {
        let page = Self { start: self.start / BIG_PAGE * BIG_PAGE, length: BIG_PAGE, ..*self };
        let within = |part: &Self| part.end().min(page.end()).saturating_sub(part.start.max(page.start));
        let room = all.iter().filter(|part| part.protection == libc::PROT_NONE).map(within).sum::<usize>();
        (within(self) == self.length && room + self.length == BIG_PAGE).then_some(page)
    }
}

/// What the kernel maps as one on x86-64, and on other processors with pages of 4 KB.
const BIG_PAGE: usize = 2 << 20;

/// Linux 6.1, asm-generic/mman-common.h.
const MADV_COLLAPSE: c_int = 25;

/// Does it, for the library that this function is in.
pub(super) fn detach() {
    // No policy for Exim is known that would allow it, and each attempt would be an alarm in the log.
    if fs::read("/sys/fs/selinux/enforce").is_ok_and(|enforcing| enforcing.starts_with(b"1")) {
        return;
    }
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else {
        return;
    };
    let (parts, name) = library(&maps, detach as fn() as usize);
    let (mut copied, mut places, mut end) = (Vec::new(), Vec::new(), 0);
    for part in parts.iter().filter(|part| part.may(libc::PROT_EXEC)) {
        let place = part.in_one_page(&parts).unwrap_or(*part);
        copied.push((*part, end + part.start - place.start));
        places.push((place, end));
        end += place.length;
    }
    let Some(copy) = copy(&copied, end, &name) else {
        return;
    };
    for (place, offset) in places {
        replace(&place, Some((&copy, offset)));
        if place.length == BIG_PAGE {
            // SAFETY: the content stays as it is. Where the kernel cannot, so do its pages.
            unsafe { libc::madvise(ptr::with_exposed_provenance_mut(place.start), BIG_PAGE, MADV_COLLAPSE) };
        }
    }
    for part in parts.iter().filter(|part| part.may(libc::PROT_READ) && !part.may(libc::PROT_EXEC)) {
        replace(part, None);
    }
}

/// The parts of the library that has `address`, in a process with these `maps`, and a name for their copy.
fn library(maps: &str, address: usize) -> (Vec<Part>, CString) {
    // Address, mode, offset, device, inode, name.
    let line = |line: &'_ str| {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
        let mode = fields.next()?;
        let flag = |letter, flag| if mode.contains(letter) { flag } else { 0 };
        let protection =
            flag('r', libc::PROT_READ) | flag('w', libc::PROT_WRITE) | flag('x', libc::PROT_EXEC);
        let (device, inode) = (fields.nth(1)?.to_owned(), fields.next()?.parse::<u64>().ok()?);
        let path = fields.next().unwrap_or_default().trim().to_owned();
        Some(((device, inode, path), Part { start, length, protection }))
    };
    let own = |part: &Part| address.checked_sub(part.start).is_some_and(|offset| offset < part.length);
    let all: Vec<_> = maps.lines().filter_map(line).collect();
    let file = all.iter().find(|(_, part)| own(part)).map(|(file, _)| file.clone()).unwrap_or_default();
    let stamp = fs::metadata(&file.2).map(|metadata| stamp(file.1, &metadata)).unwrap_or_default();
    let name = COPY.trim_start_matches("/memfd:").to_owned() + &stamp;
    // Memory that is of no file has the inode 0.
    let parts = all.into_iter().filter(|(of, part)| of.1 != 0 && *of == file && part.length > 0);
    (parts.map(|(_, part)| part).collect(), CString::new(name).unwrap_or_default())
}

/// The parts, at these offsets in a file of `length` bytes without a name that nobody can change any more.
fn copy(parts: &[(Part, usize)], length: usize, name: &CString) -> Option<OwnedFd> {
    // SAFETY: the name ends in NUL.
    let file = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    // SAFETY: a new descriptor, which is nobody else's.
    let copy = (file >= 0).then(|| File::from(unsafe { OwnedFd::from_raw_fd(file) }))?;
    copy.set_len(length.try_into().ok()?).ok()?;
    for (part, offset) in parts {
        let (from, offset) = (ptr::with_exposed_provenance(part.start), (*offset).try_into().ok()?);
        // SAFETY: the kernel reads this memory. If the file is written over just now, that is an error of
        // this call, and no signal (copy_from_user).
        let written = unsafe { libc::pwrite(file, from, part.length, offset) };
        (usize::try_from(written) == Ok(part.length)).then_some(())?;
    }
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no pointer is passed.
    (unsafe { libc::fcntl(file, libc::F_ADD_SEALS, seals) } == 0).then(|| copy.into())
}

/// Puts a part of the copy in the place of a part of the library; or memory of no file, with the same
/// content. What fails leaves the part as it is.
fn replace(part: &Part, copy: Option<(&OwnedFd, usize)>) {
    let (file, offset) = copy.map_or((-1, 0), |(copy, offset)| (copy.as_raw_fd(), offset));
    let Ok(offset) = offset.try_into() else {
        return;
    };
    let (kind, more) =
        if copy.is_none() { (libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE) } else { (0, 0) };
    let (kind, protection) = (libc::MAP_PRIVATE | kind, part.protection | more);
    // SAFETY: a mapping where the kernel finds room touches nothing that is in use.
    let new = unsafe { libc::mmap(ptr::null_mut(), part.length, protection, kind, file, offset) };
    if new == libc::MAP_FAILED {
        return;
    }
    let place: *mut c_void = ptr::with_exposed_provenance_mut(part.start);
    // SAFETY: both have this length, and a part without a copy can be read. So the same bytes
    // with the same protection get to the same address, in one system call. Exim's daemon has one thread;
    // nothing writes to the part meanwhile.
    unsafe {
        if copy.is_none() {
            ptr::copy_nonoverlapping(place.cast::<MaybeUninit<u8>>(), new.cast(), part.length);
        }
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        if libc::mprotect(new, part.length, part.protection) != 0
            || libc::mremap(new, part.length, part.length, flags, place) == libc::MAP_FAILED
        {
            libc::munmap(new, part.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts are those of the file that has the address, and of no other.
    #[test]
    fn parts_are_those_of_one_file() {
        let maps = "\
1000-3000 r--p 00000000 08:01 7 /usr/lib/exim4/eximgrey-1.so (deleted)
3000-4000 r-xp 00002000 08:01 7 /usr/lib/exim4/eximgrey-1.so (deleted)
4000-5000 rw-p 00003000 08:01 7 /usr/lib/exim4/eximgrey-1.so (deleted)
5000-6000 rw-p 00000000 00:00 0 
6000-7000 r-xp 00000000 08:02 7 /usr/lib/exim4/eximgrey-1.so (deleted)
nonsense
";
        let (parts, name) = library(maps, 0x3800);
        let (read, write, run) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
        let found: Vec<_> = parts.iter().map(|part| (part.start, part.length, part.protection)).collect();
        assert_eq!(
            found,
            [(0x1000, 0x2000, read), (0x3000, 0x1000, read | run), (0x4000, 0x1000, read | write)]
        );
        // Nobody knows any more what that file was.
        assert_eq!(name.to_str(), Ok("eximgrey.so"));
        assert!(library(maps, 0x5800).0.is_empty() && library(maps, 0x9000).0.is_empty());
    }

    /// A part gets a page of 2 MB where nothing but room is around it, and nowhere else.
    #[test]
    fn a_big_page_covers_nothing_else() {
        let part = |start, end, protection| Part { start, length: end - start, protection };
        let code = |start, end| part(start, end, libc::PROT_READ | libc::PROT_EXEC);
        let room = |start, end| part(start, end, libc::PROT_NONE);
        let page = |parts: &[Part]| {
            let code = parts.iter().find(|part| part.may(libc::PROT_EXEC)).unwrap();
            code.in_one_page(parts).map(|page| (page.start, page.end()))
        };
        let data = part(0x5e_8000, 0x5f_0000, libc::PROT_READ | libc::PROT_WRITE);
        let all = Some((0x20_0000, 0x40_0000));
        assert_eq!(page(&[code(0x20_0000, 0x2e_9000), room(0x2e_9000, 0x5e_8000), data]), all);
        assert_eq!(
            page(&[room(0x1f_8000, 0x23_8000), code(0x23_8000, 0x3e_9000), room(0x3e_9000, 0x40_0000)]),
            all
        );
        for parts in [
            // Not aligned, as by an old loader; too long; without room.
            vec![code(0x25_0000, 0x33_9000), room(0x33_9000, 0x63_8000), data],
            vec![code(0x20_0000, 0x41_0000), room(0x41_0000, 0x5e_8000), data],
            vec![code(0x20_0000, 0x2e_9000), data],
            // Something else is in the way.
            vec![
                code(0x20_0000, 0x2e_9000),
                part(0x2e_9000, 0x3e_0000, libc::PROT_READ),
                room(0x3e_0000, 0x5e_8000),
            ],
        ] {
            assert_eq!(page(&parts), None, "{parts:?}");
        }
    }
}
