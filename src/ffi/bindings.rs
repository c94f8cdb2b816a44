pub type uschar = u8;
pub const OK: i32 = 0;
pub const LOG_MAIN: i32 = 1;
pub const D_local_scan: i32 = 2;
