// Made by bindgen from Exim's local_scan.h: the ABI of ${dlfunc}. Do not edit: `make bindings`.

pub const OK: i32 = 0;
pub const DEFER: i32 = 1;
pub const FAIL: i32 = 2;
pub const ERROR: i32 = 3;
pub const FAIL_FORCED: i32 = 4;
pub const LOG_MAIN: i32 = 1;
pub const D_local_scan: i32 = 2;
pub type uschar = ::core::ffi::c_uchar;
pub type exim_dlfunc_t = ::core::option::Option<
    unsafe extern "C" fn(
        yield_: *mut *mut uschar,
        argc: ::core::ffi::c_int,
        argv: *mut *mut uschar,
    ) -> ::core::ffi::c_int,
>;
