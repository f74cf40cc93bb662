/* objects_times.c: see objects_values.h. Dates, times and timedeltas without the way through Python, unless
   their zone is one that mheap/_values.py knows alone. */
#include "objects_values.h"

#include <datetime.h>

#define SECOND 1000000LL
#define DAY (86400 * SECOND)
#define MAX_ORDINAL 3652059
#define BEFORE_YEAR_1 306 /* days from March 1 of year 0 */

/* ---- the calendar: years begin in March, so that a leap day is a year's last ---- */

static long long ordinal_of(int year, int month, int day) {
  long long y = month <= 2 ? year - 1 : year, of_era = y % 400;
  long long of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  long long days = y / 400 * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
  return days - BEFORE_YEAR_1 + 1;
}

typedef struct date {
  int year, month, day;
} date;

static date date_of(long long ordinal) {
  long long days = ordinal - 1 + BEFORE_YEAR_1, of_era = days % 146097;
  long long year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  long long of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
  date made = {.month = (int)(month < 10 ? month + 3 : month - 9),
               .day = (int)(of_year - (153 * month + 2) / 5 + 1)};
  made.year = (int)(year + days / 146097 * 400 + (made.month <= 2));
  return made;
}

/* ---- to words ---- */

static bool is_of_datetime(PyObject *object) {
  if (strncmp(Py_TYPE(object)->tp_name, "datetime.", 9) != 0) return false;
  if (PyDateTimeAPI == NULL) PyDateTime_IMPORT;
  if (PyDateTimeAPI == NULL) PyErr_Clear();
  return PyDateTimeAPI != NULL;
}

/* The word of a zone; NULL, without an exception: not one that is known here. Borrowed. */
static PyObject *zone_of(PyObject *zone, PyObject *zero) {
  return zone == Py_None ? Py_None : zone == PyDateTime_TimeZone_UTC ? zero : NULL;
}

static PyObject *of_time(long long micros, int fold, PyObject *zone) {
  PyObject *zero = PyLong_FromLong(0), *word = zero == NULL ? NULL : zone_of(zone, zero);
  PyObject *words = word == NULL ? NULL : Py_BuildValue("LiO", micros, fold, word);
  Py_XDECREF(zero);
  return words;
}

static PyObject *of_datetime(PyObject *object) {
  long long days = ordinal_of(PyDateTime_GET_YEAR(object), PyDateTime_GET_MONTH(object),
                              PyDateTime_GET_DAY(object)) - 1;
  long long seconds = (PyDateTime_DATE_GET_HOUR(object) * 60LL + PyDateTime_DATE_GET_MINUTE(object)) * 60 +
                      PyDateTime_DATE_GET_SECOND(object);
  return of_time(days * DAY + seconds * SECOND + PyDateTime_DATE_GET_MICROSECOND(object),
                 PyDateTime_DATE_GET_FOLD(object), PyDateTime_DATE_GET_TZINFO(object));
}

static PyObject *of_day(PyObject *object) {
  long long seconds = (PyDateTime_TIME_GET_HOUR(object) * 60LL + PyDateTime_TIME_GET_MINUTE(object)) * 60 +
                      PyDateTime_TIME_GET_SECOND(object);
  return of_time(seconds * SECOND + PyDateTime_TIME_GET_MICROSECOND(object), PyDateTime_TIME_GET_FOLD(object),
                 PyDateTime_TIME_GET_TZINFO(object));
}

PyObject *mhx_time_words(PyObject *object, mh_kind_code *kind) {
  if (!is_of_datetime(object)) return NULL;
  if (PyDateTime_CheckExact(object)) return *kind = MH_KIND_DATETIME, of_datetime(object);
  if (PyTime_CheckExact(object)) return *kind = MH_KIND_TIME, of_day(object);
  if (PyDate_CheckExact(object)) {
    *kind = MH_KIND_DATE;
    return Py_BuildValue("(L)", ordinal_of(PyDateTime_GET_YEAR(object), PyDateTime_GET_MONTH(object),
                                           PyDateTime_GET_DAY(object)));
  }
  if (!PyDelta_CheckExact(object)) return NULL;
  *kind = MH_KIND_TIMEDELTA;
  return Py_BuildValue("iii", PyDateTime_DELTA_GET_DAYS(object), PyDateTime_DELTA_GET_SECONDS(object),
                       PyDateTime_DELTA_GET_MICROSECONDS(object));
}

/* Of a key of these kinds: the instant is the time itself in UTC, and None without a zone. */
static int with_instant(PyObject *time, PyObject **words, PyObject **code) {
  PyObject *local = PyTuple_GET_ITEM(time, 0), *zone = PyTuple_GET_ITEM(time, 2);
  PyObject *instant = zone == Py_None ? Py_None : local;
  *words = PyTuple_Pack(4, local, PyTuple_GET_ITEM(time, 1), zone, instant);
  *code = instant == Py_None ? PyTuple_Pack(2, Py_None, local) : PyTuple_Pack(1, local);
  if (*words != NULL && *code != NULL) return 1;
  Py_CLEAR(*words);
  Py_CLEAR(*code);
  return -1;
}

int mhx_time_key(PyObject *object, mh_kind_code *kind, PyObject **words, PyObject **code) {
  *words = mhx_time_words(object, kind);
  if (*words == NULL) return PyErr_Occurred() ? -1 : 0;
  *code = *words;
  if (*kind == MH_KIND_DATE || *kind == MH_KIND_TIMEDELTA) return Py_INCREF(*words), 1;
  PyObject *time = *words;
  int made = with_instant(time, words, code);
  Py_DECREF(time);
  return made;
}

/* ---- from words ---- */

/* Word i as a number from 0 to `most`; -1: it is none. */
static long long number_at(PyObject *words, Py_ssize_t i, long long most) {
  PyObject *word = PyTuple_GET_ITEM(words, i);
  int overflow = 0;
  long long number = PyLong_CheckExact(word) ? PyLong_AsLongLongAndOverflow(word, &overflow) : -1;
  return overflow != 0 || number < 0 || number > most ? -1 : number;
}

/* Borrowed; NULL, without an exception: not one that is known here. */
static PyObject *zone_at(PyObject *words, Py_ssize_t i) {
  PyObject *word = PyTuple_GET_ITEM(words, i);
  if (word == Py_None) return Py_None;
  return number_at(words, i, 0) == 0 ? PyDateTime_TimeZone_UTC : NULL;
}

static PyObject *make_datetime(PyObject *words, bool with_date) {
  long long micros = number_at(words, 0, with_date ? MAX_ORDINAL * DAY - 1 : DAY - 1);
  long long fold = number_at(words, 1, 1);
  PyObject *zone = zone_at(words, 2);
  if (micros < 0 || fold < 0 || zone == NULL) return NULL;
  int seconds = (int)(micros % DAY / SECOND), rest = (int)(micros % SECOND);
  int hour = seconds / 3600, minute = seconds / 60 % 60, second = seconds % 60;
  if (!with_date)
    return PyDateTimeAPI->Time_FromTimeAndFold(hour, minute, second, rest, zone, (int)fold,
                                               PyDateTimeAPI->TimeType);
  date day = date_of(micros / DAY + 1);
  return PyDateTimeAPI->DateTime_FromDateAndTimeAndFold(day.year, day.month, day.day, hour, minute, second,
                                                        rest, zone, (int)fold, PyDateTimeAPI->DateTimeType);
}

static PyObject *make_date(PyObject *words) {
  long long ordinal = number_at(words, 0, MAX_ORDINAL);
  if (ordinal < 1) return NULL;
  date day = date_of(ordinal);
  return PyDate_FromDate(day.year, day.month, day.day);
}

/* Numbers were checked, and are again: somebody may be writing. What is not as it should be is not made. */
PyObject *mhx_time_of(mh_kind_code kind, PyObject *words) {
  bool is_date = kind == MH_KIND_DATE, is_time = kind == MH_KIND_TIME || kind == MH_KIND_DATETIME;
  if (!is_date && !is_time) return NULL;
  if (PyDateTimeAPI == NULL) PyDateTime_IMPORT;
  PyObject *made = PyDateTimeAPI == NULL ? NULL
                   : is_date             ? make_date(words)
                                         : make_datetime(words, kind == MH_KIND_DATETIME);
  if (made == NULL) PyErr_Clear();
  return made;
}
