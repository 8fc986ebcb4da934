/* A loader for gdk-pixbuf, by which GNOME's viewers, file managers and thumbnailers show .sspl files.
 *
 * The file is kept until it is whole. What asks for a size, as thumbnailers do, gets it rendered at that size.
 */
#define GDK_PIXBUF_ENABLE_BACKEND
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <gmodule.h>
#include <sspl.h>
#include <stdlib.h>

typedef struct {
  GdkPixbufModuleSizeFunc size_function;
  GdkPixbufModulePreparedFunc prepared_function;
  GdkPixbufModuleUpdatedFunc updated_function;
  gpointer user;
  GByteArray* bytes;
} Loading;

static void set_error(GError** error, const sspl_error* why) {
  const gboolean memory = why->status == SSPL_ERROR_MEMORY;
  g_set_error_literal(error, GDK_PIXBUF_ERROR,
                      memory ? GDK_PIXBUF_ERROR_INSUFFICIENT_MEMORY : GDK_PIXBUF_ERROR_CORRUPT_IMAGE, why->message);
}

/* What the file says of itself that viewers look for. */
static void add_options(GdkPixbuf* pixbuf, sspl_image* image) {
  size_t size;
  const void* profile = sspl_get_metadata(image, SSPL_ICC, &size, NULL);
  if (profile == NULL) return;
  gchar* text = g_base64_encode(profile, size);
  gdk_pixbuf_set_option(pixbuf, "icc-profile", text);
  g_free(text);
}

static GdkPixbuf* render(sspl_image* image, const Loading* loading, GError** error) {
  sspl_error why;
  sspl_info info;
  sspl_request request;
  SSPL_GET_INFO(image, &info);
  SSPL_REQUEST_INIT(&request);
  gint columns = (gint)info.width, rows = (gint)info.height;
  if (loading->size_function != NULL) loading->size_function(&columns, &rows, loading->user);
  if (columns < 1 || rows < 1) {
    g_set_error_literal(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_FAILED, "an image of no size was asked for");
    return NULL;
  }
  request.columns = (guint32)columns;
  request.rows = (guint32)rows;
  request.channels = info.channels % 2 == 0 ? 4 : 3;
  request.bits = 8;
  request.preview = 1; /* of a thumbnail; it changes nothing where an image is shown at its own size */
  GdkPixbuf* pixbuf = gdk_pixbuf_new(GDK_COLORSPACE_RGB, request.channels == 4, 8, columns, rows);
  if (pixbuf == NULL) {
    g_set_error_literal(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_INSUFFICIENT_MEMORY, "there is not enough memory");
    return NULL;
  }
  if (sspl_read(image, &request, gdk_pixbuf_get_pixels(pixbuf), (size_t)gdk_pixbuf_get_rowstride(pixbuf), &why) !=
      SSPL_OK) {
    set_error(error, &why);
    g_object_unref(pixbuf);
    return NULL;
  }
  add_options(pixbuf, image);
  return pixbuf;
}

static gpointer begin_load(GdkPixbufModuleSizeFunc size_function, GdkPixbufModulePreparedFunc prepared_function,
                           GdkPixbufModuleUpdatedFunc updated_function, gpointer user, GError** error) {
  (void)error;
  Loading* loading = g_new0(Loading, 1);
  loading->size_function = size_function;
  loading->prepared_function = prepared_function;
  loading->updated_function = updated_function;
  loading->user = user;
  loading->bytes = g_byte_array_new();
  return loading;
}

static gboolean load_increment(gpointer context, const guchar* bytes, guint size, GError** error) {
  Loading* loading = context;
  if (loading->bytes->len > G_MAXINT32 - size) {
    g_set_error_literal(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_CORRUPT_IMAGE, "the file is too large");
    return FALSE;
  }
  g_byte_array_append(loading->bytes, bytes, size);
  return TRUE;
}

static gboolean stop_load(gpointer context, GError** error) {
  Loading* loading = context;
  sspl_error why;
  GdkPixbuf* pixbuf = NULL;
  sspl_image* image = sspl_open_memory(loading->bytes->data, loading->bytes->len, NULL, &why);
  if (image == NULL) {
    set_error(error, &why);
  } else {
    pixbuf = render(image, loading, error);
    sspl_close(image);
  }
  if (pixbuf != NULL) {
    if (loading->prepared_function != NULL) loading->prepared_function(pixbuf, NULL, loading->user);
    if (loading->updated_function != NULL)
      loading->updated_function(pixbuf, 0, 0, gdk_pixbuf_get_width(pixbuf), gdk_pixbuf_get_height(pixbuf),
                                loading->user);
    g_object_unref(pixbuf);
  }
  g_byte_array_unref(loading->bytes);
  g_free(loading);
  return pixbuf != NULL;
}

G_MODULE_EXPORT void fill_vtable(GdkPixbufModule* module) {
  module->begin_load = begin_load;
  module->load_increment = load_increment;
  module->stop_load = stop_load;
}

G_MODULE_EXPORT void fill_info(GdkPixbufFormat* format) {
  static GdkPixbufModulePattern signature[] = {{"\x89SSP\r\n\x1a\n", "        ", 100}, {NULL, NULL, 0}};
  static gchar* media_types[] = {"image/x-sspl", NULL};
  static gchar* extensions[] = {"sspl", NULL};
  format->name = "sspl";
  format->signature = signature;
  format->description = "SmartSplat image";
  format->mime_types = media_types;
  format->extensions = extensions;
  format->flags = GDK_PIXBUF_FORMAT_THREADSAFE;
  format->license = "MIT";
}
