/* utf8.h: are bytes that came from a program, or a file, UTF-8? Owns and calls nothing. */
#ifndef MHEAP_UTF8_H
#define MHEAP_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed as RFC 3629 has it: no surrogates, nothing overlong, nothing above U+10FFFF. */
bool mh_is_utf8(const char *text, size_t length);

#endif
