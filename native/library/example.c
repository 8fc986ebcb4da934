/* Decodes a .sspl file to a PAM image on standard output: sspl-to-pam FILE [COLUMNS ROWS]
 * cc example.c $(pkg-config --cflags --libs sspl) -o sspl-to-pam */
#include <sspl.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  return 1;
}

int main(int count, char** words) {
  sspl_error error;
  sspl_request request;
  sspl_info info;
  if (count != 2 && count != 4) return fail("usage", "sspl-to-pam FILE [COLUMNS ROWS]");
  sspl_image* image = sspl_open_file(words[1], NULL, &error);
  if (image == NULL) return fail(words[1], error.message);
  SSPL_GET_INFO(image, &info);
  SSPL_REQUEST_INIT(&request);
  request.columns = count == 4 ? (uint32_t)strtoul(words[2], NULL, 10) : info.width;
  request.rows = count == 4 ? (uint32_t)strtoul(words[3], NULL, 10) : info.height;
  request.channels = 4;
  request.bits = 8;
  const size_t row = (size_t)request.columns * request.channels;
  if (sspl_begin(image, &request, &error) != SSPL_OK) return fail(words[1], error.message);
  unsigned char* pixels = malloc(row * SSPL_ROWS_STEP);
  if (pixels == NULL) return fail(words[1], "there is not enough memory");
  printf("P7\nWIDTH %u\nHEIGHT %u\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n", (unsigned)request.columns,
         (unsigned)request.rows);
  for (uint32_t top = 0; top < request.rows; top += SSPL_ROWS_STEP) {
    const uint32_t left = request.rows - top, rows = left < SSPL_ROWS_STEP ? left : SSPL_ROWS_STEP;
    if (sspl_read_rows(image, top, rows, pixels, row, &error) != SSPL_OK) return fail(words[1], error.message);
    if (fwrite(pixels, row, rows, stdout) != rows) return fail("standard output", "cannot be written");
  }
  free(pixels);
  sspl_close(image);
  return 0;
}
