/* Broken GGUF files, one a row: each must be refused with EFORMAT and a one-line message about the right thing,
 * from memory and from a file alike. The notation is in craft.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/gguf_priv.h"

/* A directory entry's smallest neighbour: rank 1, F32, one value. */
#define KA "h:3,0,1 k:a,"
#define T1 "h:3,1,0 "

static const struct {
    const char *line;
    const char *about;
} broken[] = {
    /* header */
    {"", "not a GGUF file (0 bytes)"},
    {"r:G", "not a GGUF file (1 bytes)"},
    {"r:GGU", "not a GGUF file (3 bytes)"},
    {"r:GGUF", "ends inside the GGUF header"},
    {"r:GGUF d:3", "ends inside the GGUF header"},
    {"r:GGUF d:3 q:0", "ends inside the GGUF header"},
    {"r:GGUF d:3 q:0 d:0 b:0 w:0", "ends inside the GGUF header"},
    {"r:GGML d:3 q:0 q:0", "not a GGUF file (starts with 47 47 4d 4c"},
    {"r:FUGG d:3 q:0 q:0", "not a GGUF file"},
    {"r:gguf d:3 q:0 q:0", "not a GGUF file"},
    {"r:PK z:30", "not a GGUF file (starts with 50 4b 00 00"},
    {"q:100 r:{\"a\":1} z:40", "not a GGUF file"},
    {"r:GGUF d:0 q:0 q:0", "version 0, expected 2 or 3"},
    {"r:GGUF d:1 d:0 d:0 q:0", "version 1, expected 2 or 3; convert the model again"},
    {"r:GGUF d:4 q:0 q:0", "version 4, expected 2 or 3"},
    {"r:GGUF d:0xffffffff q:0 q:0", "version 4294967295"},
    {"r:GGUF d:0x03000000 q:0 q:0", "big-endian"},
    {"r:GGUF d:0x02000000 q:0 q:0", "big-endian"},
    {"h:3,0,1", "header counts 1 keys, but only 0 bytes"},
    {"h:3,0,0xffffffffffffffff z:100", "header counts 18446744073709551615 keys"},
    {"h:3,0,8 z:100", "header counts 8 keys, but only 100 bytes"},
    {"h:3,1,0", "header counts 1 tensors, but only 0 bytes"},
    {"h:3,0xffffffffffffffff,0 z:100", "header counts 18446744073709551615 tensors"},
    {"h:3,0x7fffffffffffffff,0 z:100", "header counts 9223372036854775807 tensors"},
    {"h:3,4,0 z:100", "header counts 4 tensors, but only 100 bytes"},
    /* key names */
    {"h:3,0,1 q:0 d:4 d:1", "key 0 at byte 24: name length 0"},
    {"h:3,0,1 q:65536 z:65600", "name length 65536, expected 1 to 65535"},
    {"h:3,0,1 q:0xffffffffffffffff z:20", "name length 18446744073709551615"},
    {"h:3,0,1 q:0x8000000000000000 z:20", "name length 9223372036854775808"},
    {"h:3,0,1 q:100 r:short z:4", "name of 100 bytes, but the file ends after 9"},
    {"h:3,0,1 q:3 r:a b:0 r:b d:4 d:1", "name holds a NUL"},
    {"h:3,0,1 q:8 z:8 d:0 b:1", "name holds a NUL"},
    {"h:3,0,2 k:abc,8 s:1234567890 z:3", "key 1 at byte 57: file ends (60 bytes) inside its length"},
    {"h:3,0,2 k:a,4 d:1 k:a,4 d:1", "key a appears twice"},
    {"h:3,0,3 k:a,4 d:1 k:b,4 d:1 k:a,0 b:1", "key a appears twice"},
    {"h:3,0,2 k:general.alignment,4 d:32 k:general.alignment,4 d:64", "general.alignment appears twice"},
    /* value types */
    {KA "13 q:0", "key a: type 13, expected 0 to 12"},
    {KA "0xffffffff q:0", "key a: type 4294967295"},
    {KA "0x80000000 q:0", "key a: type 2147483648"},
    {KA "0x00000400 q:0", "key a: type 1024"},
    {"h:3,0,1 s:abcdefgh w:4", "key abcdefgh: file ends inside the type"},
    {"h:3,0,1 s:abcdef", "key abcdef: file ends inside the type"},
    /* scalars cut off; the filler key makes the count plausible */
    {"h:3,0,1 k:aa,0", "key aa: file ends inside its u8"},
    {"h:3,0,1 k:aa,1", "key aa: file ends inside its i8"},
    {"h:3,0,1 k:aa,2 b:1", "key aa: file ends inside its u16"},
    {"h:3,0,1 k:aa,3 b:1", "key aa: file ends inside its i16"},
    {"h:3,0,1 k:a,4 w:1", "key a: file ends inside its u32"},
    {"h:3,0,1 k:a,5 w:1", "key a: file ends inside its i32"},
    {"h:3,0,1 k:a,6 w:1", "key a: file ends inside its f32"},
    {"h:3,0,1 k:aa,7", "key aa: file ends inside its bool"},
    {"h:3,0,1 k:a,10 d:1", "key a: file ends inside its u64"},
    {"h:3,0,1 k:a,11 d:1", "key a: file ends inside its i64"},
    {"h:3,0,1 k:a,12 d:1", "key a: file ends inside its f64"},
    {KA "7 b:2", "key a: bool 0 is 2, expected 0 or 1"},
    {KA "7 b:255", "key a: bool 0 is 255"},
    /* strings */
    {KA "8 d:1", "key a: file ends inside string 0 of 1"},
    {KA "8 q:1", "key a: string 0 of 1 has 1 bytes, but the file ends after 0"},
    {KA "8 q:6 r:hello", "has 6 bytes, but the file ends after 5"},
    {KA "8 q:0xffffffffffffffff r:hello", "has 18446744073709551615 bytes"},
    {KA "8 q:0xfffffffffffffff8 r:hello", "has 18446744073709551608 bytes"},
    {KA "8 q:0x8000000000000000 r:hello", "has 9223372036854775808 bytes"},
    /* arrays */
    {KA "9 w:4", "key a: file ends inside the element type"},
    {KA "9 d:4", "key a: file ends inside the array length"},
    {KA "9 d:4 d:1", "key a: file ends inside the array length"},
    {KA "9 d:13 q:1 z:8", "key a: element type 13"},
    {KA "9 d:0xffffffff q:1 z:8", "key a: element type 4294967295"},
    {KA "9 d:0 q:9 z:8", "key a: array of 9 u8, but only 8 bytes"},
    {KA "9 d:2 q:5 z:8", "key a: array of 5 u16, but only 8 bytes"},
    {KA "9 d:4 q:3 z:8", "key a: array of 3 u32, but only 8 bytes"},
    {KA "9 d:6 q:0x4000000000000001 z:8", "array of 4611686018427387905 f32"},
    {KA "9 d:4 q:0xffffffffffffffff z:8", "array of 18446744073709551615 u32"},
    {KA "9 d:10 q:2 z:15", "key a: array of 2 u64, but only 15 bytes"},
    {KA "9 d:12 q:0x2000000000000001 z:8", "array of 2305843009213693953 f64"},
    {KA "9 d:7 q:3 b:0 b:1 b:2", "key a: bool 2 is 2"},
    {KA "9 d:8 q:2 s:a", "array of 2 string, but only 9 bytes"},
    {KA "9 d:8 q:2 s:abcdefgh d:5", "file ends inside string 1 of 2"},
    {KA "9 d:8 q:2 s:abcdefgh q:5 r:abcd", "string 1 of 2 has 5 bytes, but the file ends after 4"},
    {KA "9 d:8 q:2 s:abcdefgh q:0xffffffffffffffff", "string 1 of 2 has 18446744073709551615"},
    {KA "9 d:8 q:0x2000000000000000 z:64", "array of 2305843009213693952 string"},
    {KA "9 d:8 q:0xffffffffffffffff z:64", "array of 18446744073709551615 string"},
    {KA "9 d:9 q:2 d:0 q:1 b:1 z:3", "array of 2 array, but only 16 bytes"},
    {KA "9 d:9 q:1 d:0 q:0xffffffffffffffff z:20", "array of 18446744073709551615 u8"},
    {KA "9 d:9 q:1 d:77 q:1 z:20", "element type 77"},
    {KA "9 d:9 q:1 d:9 q:1 d:9 q:1 d:9 q:1 d:0 q:1 b:1", "arrays nested deeper than 4"},
    {KA "9 d:9 q:1 d:9 q:1 d:9 q:1 d:9 q:1 d:9 q:1 d:9 q:1 d:9 q:1 d:9 q:0", "arrays nested deeper than 4"},
    {KA "9 d:9 q:1 d:8 q:1 q:100 r:abc", "string 0 of 1 has 100 bytes"},
    {KA "9 d:9 q:1 d:7 q:1 b:9", "bool 0 is 9"},
    /* alignment */
    {"h:3,0,1 k:general.alignment,4 d:0", "general.alignment is 0, expected a power of two"},
    {"h:3,0,1 k:general.alignment,4 d:4", "general.alignment is 4"},
    {"h:3,0,1 k:general.alignment,4 d:33", "general.alignment is 33"},
    {"h:3,0,1 k:general.alignment,4 d:131072", "general.alignment is 131072"},
    {"h:3,0,1 k:general.alignment,5 d:-32", "general.alignment is -32"},
    {"h:3,0,1 k:general.alignment,4 d:0x80000000", "general.alignment is 2147483648"},
    {"h:3,0,1 k:general.alignment,10 q:0xffffffffffffffff", "general.alignment is not an integer"},
    {"h:3,0,1 k:general.alignment,8 s:32", "general.alignment is not an integer"},
    {"h:3,0,1 k:general.alignment,6 f:32", "general.alignment is not an integer"},
    {"h:3,0,1 k:general.alignment,7 b:1", "general.alignment is not an integer"},
    {"h:3,0,1 k:general.alignment,9 d:4 q:1 d:32", "general.alignment is not an integer"},
    /* tensor names */
    {T1 "q:0 d:1 q:1 d:0 q:0 z:100", "tensor 0 at byte 24: name length 0"},
    {T1 "q:256 z:400", "name length 256, expected 1 to 255"},
    {T1 "q:0xffffffffffffffff z:100", "tensor 0 at byte 24: name length 18446744073709551615"},
    {T1 "q:200 r:x z:100", "name of 200 bytes, but the file ends"},
    {T1 "q:2 r:x b:0 d:1 q:1 d:0 q:0 z:100", "tensor 0 at byte 24: name holds a NUL"},
    {"h:3,2,0 t:x,0,0,1 t:x,0,32,1 p:32 z:64", "tensor x appears twice"},
    {"h:3,3,0 t:x,0,0,1 t:y,0,32,1 t:x,0,64,1 p:32 z:96", "tensor x appears twice"},
    {"h:3,2,0 t:abcdefghijklmnopqrstuvwxyz0123456789,0,0,1 b:1", "tensor 1 at byte 92: file ends"},
    /* rank and dimensions */
    {T1 "s:abcdefghijklmnopqrstuvwxyz w:1", "abcdefghijklmnopqrstuvwxyz: file ends inside its rank"},
    {T1 "s:x d:0 d:0 q:0 z:64", "x has rank 0, expected 1 to 4"},
    {T1 "t:x,0,0,1,1,1,1,1 p:32 z:4", "x has rank 5"},
    {T1 "s:x d:0xffffffff z:64", "x has rank 4294967295"},
    {T1 "s:x d:4 z:30", "x: file ends inside its directory entry"},
    {T1 "s:abcdefghij d:1 q:1 w:1", "header counts 1 tensors, but only"},
    {T1 "s:abcdefghijkl d:1 q:1 d:0 d:0", "abcdefghijkl: file ends inside its directory entry"},
    {T1 "t:x,0,0,0 p:32 z:4", "x: dimension 0 is 0"},
    {T1 "t:x,0,0,4,0 p:32 z:4", "x: dimension 1 is 0"},
    {T1 "t:x,0,0,4,4,4,0 p:32 z:256", "x: dimension 3 is 0"},
    {T1 "t:x,0,0,0xffffffffffffffff p:32 z:4", "x: number of elements overflows at dimension 0"},
    {T1 "t:x,0,0,0x8000000000000000 p:32 z:4", "x: number of elements overflows at dimension 0"},
    {T1 "t:x,0,0,0x100000000,0x80000000 p:32 z:4", "x: number of elements overflows at dimension 1"},
    {T1 "t:x,0,0,0x100000000,0x100000000 p:32 z:4", "x: number of elements overflows at dimension 1"},
    {T1 "t:x,0,0,0x10000,0x10000,0x10000,0x10000 p:32 z:4", "x: number of elements overflows at dimension 3"},
    {T1 "t:x,0,0,3,0x5555555555555555,3 p:32 z:4", "x: number of elements overflows"},
    {T1 "t:x,0,0,0x7fffffffffffffff p:32 z:4", "x: size in bytes overflows"},
    {T1 "t:x,27,0,0x4000000000000000 p:32 z:4", "x: size in bytes overflows"},
    {T1 "t:x,1,0,0x7fffffffffffffff p:32 z:4", "lies outside the 4 data bytes"},
    /* types */
    {T1 "t:blk.0.ffn_up.weight,16,0,256 p:32 z:66",
     "blk.0.ffn_up.weight has type IQ2_XXS (16), which Carat does not read; supported: F32 F16 BF16 Q8_0"},
    {T1 "t:x,4,0,32 p:32 z:20", "x has type Q4_2 (4)"},
    {T1 "t:x,5,0,32 p:32 z:20", "x has type Q4_3 (5)"},
    {T1 "t:x,9,0,32 p:32 z:40", "x has type Q8_1 (9)"},
    {T1 "t:x,15,0,256 p:32 z:292", "x has type Q8_K (15)"},
    {T1 "t:x,17,0,256 p:32 z:292", "x has type IQ2_XS (17)"},
    {T1 "t:x,18,0,256 p:32 z:292", "x has type IQ3_XXS (18)"},
    {T1 "t:x,19,0,256 p:32 z:292", "x has type IQ1_S (19)"},
    {T1 "t:x,21,0,256 p:32 z:292", "x has type IQ3_S (21)"},
    {T1 "t:x,22,0,256 p:32 z:292", "x has type IQ2_S (22)"},
    {T1 "t:x,24,0,32 p:32 z:32", "x has type I8 (24)"},
    {T1 "t:x,25,0,32 p:32 z:64", "x has type I16 (25)"},
    {T1 "t:x,28,0,32 p:32 z:256", "x has type F64 (28)"},
    {T1 "t:x,29,0,256 p:32 z:256", "x has type IQ1_M (29)"},
    {T1 "t:x,31,0,32 p:32 z:256", "x has type Q4_0_4_4 (31)"},
    {T1 "t:x,34,0,256 p:32 z:256", "x has type TQ1_0 (34)"},
    {T1 "t:x,35,0,256 p:32 z:256", "x has type TQ2_0 (35)"},
    {T1 "t:x,39,0,256 p:32 z:256", "x has type MXFP4 (39)"},
    {T1 "t:x,42,0,256 p:32 z:256", "x has type unknown (42)"},
    {T1 "t:x,0xffffffff,0,256 p:32 z:256", "x has type unknown (4294967295)"},
    /* panels: 0x4354 above the type */
    {T1 "t:x,0x43540000,0,32,16 p:32 z:2048", "x has type F32 in panels (0x43540000), expected panels of Q4_0"},
    {T1 "t:x,0x43540001,0,32,16 p:32 z:1024", "x has type F16 in panels"},
    {T1 "t:x,0x43540003,0,32,16 p:32 z:320", "x has type Q4_1 in panels"},
    {T1 "t:x,0x4354000a,0,256,16 p:32 z:1344", "x has type Q2_K in panels"},
    {T1 "t:x,0x43540014,0,32,16 p:32 z:288", "x has type IQ4_NL in panels"},
    {T1 "t:x,0x4354001a,0,32,16 p:32 z:2048", "x has type I32 in panels"},
    {T1 "t:x,0x4354001e,0,32,16 p:32 z:1024", "x has type BF16 in panels"},
    {T1 "t:x,0x4354002a,0,32,16 p:32 z:1024", "x has type unknown in panels (0x4354002a)"},
    {T1 "t:x,0x4354ffff,0,32,16 p:32 z:1024", "x has type unknown in panels (0x4354ffff)"},
    {T1 "t:x,0x43550008,0,32,16 p:32 z:544", "x has type unknown (1129644040), which Carat does not read"},
    {T1 "t:x,0xc3540008,0,32,16 p:32 z:544", "x has type unknown (3277062152), which"},
    {T1 "t:x,0x43540008,0,512 p:32 z:544", "x lies as panels and has rank 1, expected 2 or 3"},
    {T1 "t:x,0x43540008,0,32,16,1,1 p:32 z:544", "x lies as panels and has rank 4, expected 2 or 3"},
    {T1 "t:x,0x43540008,0,32,1 p:32 z:544", "x lies as panels and has 1 rows, expected a multiple of 16"},
    {T1 "t:x,0x43540008,0,32,17 p:32 z:1088", "x lies as panels and has 17 rows, expected a multiple of 16"},
    {T1 "t:x,0x43540002,0,32,8,2 p:32 z:288", "x lies as panels and has 8 rows, expected a multiple of 16"},
    {T1 "t:x,0x43540008,0,33,16 p:32 z:1088", "x has rows of 33 values, not a multiple of the 32 of a Q8_0 block"},
    {T1 "t:x,0x4354000c,0,128,16 p:32 z:1152", "x has rows of 128 values, not a multiple of the 256 of a Q4_K block"},
    {T1 "t:x,0x43540008,0,32,16 p:32 z:543", "x: data [0,+544) lies outside the 543 data bytes"},
    {T1 "t:x,0x43540008,0,32,0x400000000000000 p:32 z:544", "x: number of elements overflows at dimension 1"},
    {"h:3,2,0 t:x,0x43540008,0,32,16 t:y,0,512,1 p:32 z:544", "tensors x and y overlap"},
    /* blocks */
    {T1 "t:x,2,0,31 p:32 z:64", "x has rows of 31 values, not a multiple of the 32 of a Q4_0 block"},
    {T1 "t:x,8,0,33,32 p:32 z:6400", "x has rows of 33 values, not a multiple of the 32 of a Q8_0 block"},
    {T1 "t:x,12,0,128,2 p:32 z:640", "x has rows of 128 values, not a multiple of the 256 of a Q4_K block"},
    {T1 "t:x,14,0,1 p:32 z:640", "x has rows of 1 values, not a multiple of the 256 of a Q6_K block"},
    /* places */
    {T1 "t:x,0,1,1 p:32 z:64", "x: data offset 1 is not a multiple of the alignment 32"},
    {T1 "t:x,0,16,1 p:32 z:64", "x: data offset 16 is not a multiple"},
    {"h:3,1,1 k:general.alignment,4 d:64 t:x,0,32,1 p:64 z:64", "offset 32 is not a multiple of the alignment 64"},
    {T1 "t:x,0,0xffffffffffffffff,1 p:32 z:64", "x: data offset 18446744073709551615 is not"},
    {T1 "t:x,0,0xffffffffffffffe0,8 p:32 z:64", "x: data [18446744073709551584,+32) lies outside the 64"},
    {T1 "t:x,0,64,1 p:32 z:64", "x: data [64,+4) lies outside the 64 data bytes"},
    {T1 "t:x,0,0,17 p:32 z:64", "x: data [0,+68) lies outside the 64 data bytes"},
    {T1 "t:x,0,0,1 p:32 z:3", "x: data [0,+4) lies outside the 3 data bytes"},
    {T1 "t:x,0,0,1 p:32", "x: data [0,+4) lies outside the 0 data bytes"},
    {T1 "t:x,0,0,1", "x: data [0,+4) lies outside the 0 data bytes"},
    {T1 "t:x,0,32,1 p:32 z:4", "x: data [32,+4) lies outside the 4 data bytes"},
    {"h:3,1,1 k:general.alignment,4 d:65536 t:x,0,0,1 p:4096 z:4096", "lies outside the 0 data bytes"},
    {"h:3,2,0 t:x,0,0,1 t:y,0,0,1 p:32 z:64", "tensors x and y overlap"},
    {"h:3,2,0 t:x,0,0,9 t:y,0,32,1 p:32 z:64", "tensors x and y overlap"},
    {"h:3,2,0 t:x,0,32,1 t:y,0,0,9 p:32 z:64", "tensors y and x overlap"},
    {"h:3,3,0 t:x,0,64,8 t:y,0,0,17 t:w,0,96,1 p:32 z:128", "tensors y and x overlap"},
    {"h:3,3,0 t:x,0,0,1 t:y,0,32,9 t:w,0,64,1 p:32 z:96", "tensors y and w overlap"},
    /* split keys of a single file */
    {"h:3,0,1 k:split.count,2 w:0", "split.count is 0, expected 1 to 99999"},
    {"h:3,0,1 k:split.count,11 q:-1", "split.count is -1, below 0"},
    {"h:3,0,1 k:split.count,3 w:-2", "split.count is -2"},
    {"h:3,0,2 k:split.count,2 w:2 k:split.no,3 w:-1", "split.no is -1, below 0"},
    {"h:3,0,1 k:split.count,4 d:100000", "split.count is 100000"},
    {"h:3,0,1 k:split.count,8 s:2", "split.count is not an integer"},
    {"h:3,0,2 k:split.count,2 w:2 k:split.no,8 s:0", "split.no is not an integer"},
    {"h:3,0,1 k:split.count,2 w:2", "split.no is missing"},
    {"h:3,0,2 k:split.count,2 w:2 k:split.no,2 w:2", "split.no is 2, expected 0"},
    {"h:3,0,2 k:split.count,2 w:3 k:split.no,2 w:1", "this is part 2 of 3 of a split model; open part 1"},
    {"h:3,0,2 k:split.count,2 w:3 k:split.no,2 w:2", "this is part 3 of 3"},
    {"h:3,0,2 k:split.count,2 w:2 k:split.no,2 w:0", "name must end in -00001-of-00002.gguf"},
    {"h:3,0,1 k:split.tensors.count,5 d:1", "split.tensors.count is 1, but the 1 file(s) hold 0"},
    {"h:3,1,1 k:split.tensors.count,5 d:-2 t:x,0,0,1 p:32 z:4", "split.tensors.count is -2"},
    {"h:3,0,1 k:split.tensors.count,6 f:1", "split.tensors.count is not an integer"},
};
enum { N_BROKEN = sizeof broken / sizeof broken[0] };

static void gguf__rejects_broken_files_in_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < N_BROKEN; i++) {
        craft c = {0};
        craft_line(&c, broken[i].line);
        uint8_t *mem = craft_exact(&c);
        carat_error err = {0};
        ct_gguf *g = (ct_gguf *)(uintptr_t)1;
        const int rc = ct_gguf_open_memory(&g, mem, c.n, "bad.gguf", &err);
        const char *bad = craft_bad_failure(rc, &err, CARAT_EFORMAT, broken[i].about);
        if (bad) fail_msg("%s\n  %s: %s\n  expected: %s", broken[i].line, bad, err.msg, broken[i].about);
        if (strncmp(err.msg, "bad.gguf: ", 10) != 0) fail_msg("%s\n  does not name the file: %s", broken[i].line, err.msg);
        assert_null(g);
        free(mem);
        craft_free(&c);
    }
    print_message("%d broken files\n", N_BROKEN);
}

static void gguf__rejects_broken_files_on_disk(void **state) {
    (void)state;
    char *dir = craft_tmpdir(), *path = craft_path(dir, "bad.gguf");
    for (size_t i = 0; i < N_BROKEN; i++) {
        craft c = {0};
        craft_line(&c, broken[i].line);
        assert_true(craft_save(path, c.p, c.n));
        carat_error err = {0};
        ct_gguf *g;
        const int rc = ct_gguf_open(&g, path, &err);
        const char *bad = craft_bad_failure(rc, &err, CARAT_EFORMAT, broken[i].about);
        if (bad) fail_msg("%s\n  %s: %s\n  expected: %s", broken[i].line, bad, err.msg, broken[i].about);
        assert_null(g);
        craft_free(&c);
    }
    free(path);
    craft_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf__rejects_broken_files_in_memory),
        cmocka_unit_test(gguf__rejects_broken_files_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
