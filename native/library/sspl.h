/* libsspl: decodes SmartSplat images (.sspl), whole or in part, at any size.
 *
 * Nothing is thrown or allocated across this interface: images are opaque, pixels go into the caller's memory, and
 * errors into a struct of the caller's. A function that can fail takes an sspl_error, which may be NULL.
 *
 * An image is for one thread at a time; several threads may use an image each. Rendering uses threads of its own, and
 * its result does not depend on how many.
 */
#ifndef SSPL_H
#define SSPL_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(SSPL_BUILDING)
#define SSPL_API __declspec(dllexport)
#elif defined(__GNUC__)
#define SSPL_API __attribute__((visibility("default")))
#else
#define SSPL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Structs that may grow begin with their size, which the macro behind each sets together with the defaults. A library
 * reads no further, so that a program goes on working with later ones of the same major version. */
#define SSPL_VERSION_MAJOR 0
#define SSPL_VERSION_MINOR 1

/* The version of the library that runs: 256 * major + minor. */
SSPL_API uint32_t sspl_version(void);

typedef enum sspl_status {
  SSPL_OK = 0,
  SSPL_ERROR_FORMAT = 1,      /* the bytes are no .sspl file, or are damaged */
  SSPL_ERROR_UNSUPPORTED = 2, /* the file needs a later reader */
  SSPL_ERROR_LIMIT = 3,       /* the file claims more than the limits allow */
  SSPL_ERROR_ARGUMENT = 4,    /* the caller asks for something that makes no sense */
  SSPL_ERROR_READ = 5,        /* the bytes cannot be read */
  SSPL_ERROR_MEMORY = 6       /* there is not enough memory */
} sspl_status;

typedef struct sspl_error {
  sspl_status status;
  char message[240]; /* one line without an end, in English */
} sspl_error;

typedef struct sspl_image sspl_image;

/* Upper bounds of what a file may claim and of what is rendered of it, checked before anything is allocated. */
typedef struct sspl_limits {
  uint64_t side;           /* pixels of the longer side */
  uint64_t pixels;         /* of the image */
  uint64_t gaussians;      /* in the file */
  uint64_t file_bytes;     /* of the file */
  uint64_t metadata_bytes; /* of a profile, or of other metadata, unpacked */
  uint64_t overlap;        /* Gaussians over an output pixel, on average: bounds the time that a small file can take */
  uint64_t output_pixels;  /* of what is rendered at once; never more than `pixels` */
} sspl_limits;

typedef struct sspl_options {
  size_t struct_size;
  uint32_t threads; /* 0: as many as the machine has processors */
  uint32_t partial; /* 1: of a file that ends early, show what there is */
  sspl_limits limits;
} sspl_options;

SSPL_API void sspl_options_init(sspl_options* options, size_t struct_size);
#define SSPL_OPTIONS_INIT(options) sspl_options_init((options), sizeof(sspl_options))

/* Reads up to `size` bytes, those that follow the last ones; returns how many, 0 at the end, and -1 if it fails. */
typedef int64_t (*sspl_read_function)(void* user, void* buffer, size_t size);

/* Open a file; `options` may be NULL. Return NULL and fill `error` if it cannot be opened. The bytes of a file in
 * memory must stay as they are until it is closed; those that are read are kept. */
SSPL_API sspl_image* sspl_open_memory(const void* bytes, size_t size, const sspl_options* options, sspl_error* error);
SSPL_API sspl_image* sspl_open_callback(sspl_read_function read, void* user, const sspl_options* options,
                                        sspl_error* error);
SSPL_API sspl_image* sspl_open_file(const char* path, const sspl_options* options, sspl_error* error);
SSPL_API void sspl_close(sspl_image* image); /* NULL is allowed */

typedef struct sspl_info {
  size_t struct_size;
  uint32_t width, height; /* pixels */
  uint32_t channels;      /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha, which is not multiplied in */
  uint32_t depth;         /* bits per sample of the image that was encoded, 1 to 16 */
  uint32_t primaries;     /* code points of ITU-T H.273 (CICP); an ICC profile outranks them */
  uint32_t transfer;
  uint32_t density_across; /* pixels per metre, or 0 */
  uint32_t density_down;
  uint64_t gaussians;
} sspl_info;

SSPL_API void sspl_get_info(const sspl_image* image, sspl_info* info, size_t struct_size);
#define SSPL_GET_INFO(image, info) sspl_get_info((image), (info), sizeof(sspl_info))

/* What is wanted of an image: a region of it, at a size. A region may begin and end between pixels, and reach beyond
 * the image by an output pixel, as that of a window does which pans and zooms. */
typedef struct sspl_request {
  size_t struct_size;
  double x, y, width, height; /* the region, pixels of the image; all 0: the whole image */
  uint32_t columns, rows;     /* the size, output pixels; both 0: that of the region, in whole pixels */
  uint32_t channels;          /* 0: the image's; 3: RGB over the background; 4: RGBA */
  uint32_t bits;              /* a sample: 8, 16 (uint16_t of the machine), or 0: what holds the image's depth */
  uint32_t no_grain;          /* 1: without the noise that stands for lost texture */
  uint8_t background[4];      /* red, green, blue, and a byte that is not used */
  uint32_t preview; /* 1: of a view smaller than the image, sooner: without Gaussians that hardly show in it */
} sspl_request;

SSPL_API void sspl_request_init(sspl_request* request, size_t struct_size);
#define SSPL_REQUEST_INIT(request) sspl_request_init((request), sizeof(sspl_request))

/* Render a request (NULL: the whole image as it is) into [rows][columns][channels] samples, rows `stride` bytes apart;
 * 0: one behind the other. Only what touches the region is decoded. Samples of an image with an ICC profile are in its
 * colour space. If it fails, the pixels are undefined. */
SSPL_API sspl_status sspl_read(sspl_image* image, const sspl_request* request, void* pixels, size_t stride,
                               sspl_error* error);

/* The same in parts, for outputs that do not fit into memory: begin, then rows from `top` on, a multiple of
 * SSPL_ROWS_STEP, as many as a multiple of it or up to the last. Nothing else may be read of the image in between. */
#define SSPL_ROWS_STEP 256
SSPL_API sspl_status sspl_begin(sspl_image* image, const sspl_request* request, sspl_error* error);
SSPL_API sspl_status sspl_read_rows(sspl_image* image, uint32_t top, uint32_t rows, void* pixels, size_t stride,
                                    sspl_error* error);

/* SSPL_GEO: GeoTIFF tags, a little-endian TIFF structure. */
typedef enum sspl_metadata { SSPL_ICC = 0, SSPL_EXIF = 1, SSPL_XMP = 2, SSPL_IPTC = 3, SSPL_GEO = 4 } sspl_metadata;

/* Metadata as it is stored, a stream of zlib, and its length when unpacked; the image owns it. NULL: there is none. */
SSPL_API const void* sspl_get_packed_metadata(const sspl_image* image, sspl_metadata kind, size_t* size,
                                              size_t* unpacked_size);

/* Metadata that the file carries, unpacked; the image owns it. NULL: there is none, or it is damaged, which `error`
 * says. EXIF begins with its TIFF header. Not in WebAssembly, whose hosts unpack it themselves. */
SSPL_API const void* sspl_get_metadata(sspl_image* image, sspl_metadata kind, size_t* size, sspl_error* error);

#ifdef __cplusplus
}
#endif

#endif
