"""Constants of the collections service protocol."""

ACCESS_TOKEN_HEADER = "Synapse-Access-Token"  # noqa: S105 - a header name  # nosec B105
TENANT_HEADER = "Synapse-Tenant"

CHUNK_SIZE = 50 * 1024 * 1024
"""Bytes per chunk of a chunked upload, and the size above which it is chosen."""

PRESIGN_PART_SIZE = 100 * 1024 * 1024
"""Bytes per part of a presigned multipart upload, unless the server says otherwise."""

PRESIGN_PROVIDERS = frozenset({"amazon_s3", "s3", "minio", "gcp", "gcs", "azure"})
"""Storage providers (lower case) that can presign uploads."""

CHECKSUM_BATCH = 1000
"""Most checksums in one ``verify_checksums`` request."""

UNIT_BATCH = 1000
"""Most units in one creation request."""

PRESIGN_BATCH = 200
"""Files per presign request that the service is used to; it accepts :data:`PRESIGN_BATCH_MAX`."""

PRESIGN_BATCH_MAX = 1000
"""Most files in one presign or confirm request."""

EXPIRATION_DEFAULT = 3600
EXPIRATION_RANGE = (60, 86400)
"""Bounds in seconds of the ``expiration`` of a presign request."""

PAGE_SIZE = 100
"""Page size of the first generation's lists when none is asked for."""

PER_PAGE = 50
"""Page size of the second generation's lists when none is asked for."""

NAME_MAX = 100
"""Most characters in the name of a collection."""

SPECIFICATION_PATTERN = r"[^/\\\x00]{1,50}"
"""What the name of a file specification must match as a whole."""

GROUP_NAME_MAX = 255
PATH_MAX = 1024
FILENAME_MAX = 255

CATEGORIES = ("image", "video", "audio", "text", "pcd", "data")
"""Categories of collections, and equally the file types of specifications."""

FUNCTION_TYPES = ("main", "sub", "meta")
ACCESS_LEVELS = ("public", "partially_public", "private")

EXTENSIONS: dict[str, tuple[str, ...]] = {
    "video": ("mp4", "avi", "mov", "mkv", "webm", "flv", "wmv"),
    "image": ("jpg", "jpeg", "png"),
    "pcd": ("pcd",),
    "text": ("txt", "html"),
    "audio": ("mp3", "wav"),
    "data": ("xml", "bin", "json", "fbx"),
}
"""Usual extensions of a file type; a rule only where a specification lists its own."""

META_KEY = "data_unit_key"
META_STEM = "origin_file_stem"
META_EXTENSION = "origin_file_extension"

UPLOADING, COMPLETE, EXPIRED = 1, 2, 3
"""Values of ``status`` of a chunked upload."""

CHECKSUM_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
"""Algorithm of a hexadecimal checksum, by its length."""
