// Made by bindgen from Exim's local_scan.h: its ABI. Do not edit: `make bindings`.

pub const OK: i32 = 0;
pub const DEFER: i32 = 1;
pub const FAIL: i32 = 2;
pub const ERROR: i32 = 3;
pub const FAIL_FORCED: i32 = 4;
pub const LOG_MAIN: i32 = 1;
pub const D_local_scan: i32 = 2;
pub type uschar = ::core::ffi::c_uchar;
pub type BOOL = ::core::ffi::c_uint;
pub type exim_dlfunc_t = ::core::option::Option<
    unsafe extern "C" fn(
        yield_: *mut *mut uschar,
        argc: ::core::ffi::c_int,
        argv: *mut *mut uschar,
    ) -> ::core::ffi::c_int,
>;
unsafe extern "C" {
    pub static mut debug_selector: ::core::ffi::c_uint;
}
unsafe extern "C" {
    pub static mut host_checking: BOOL;
}
unsafe extern "C" {
    pub static mut smtp_input: BOOL;
}
unsafe extern "C" {
    pub fn debug_printf(arg1: *const ::core::ffi::c_char, ...);
}
unsafe extern "C" {
    pub fn log_write(
        arg1: ::core::ffi::c_uint,
        arg2: ::core::ffi::c_int,
        format: *const ::core::ffi::c_char,
        ...
    );
}
